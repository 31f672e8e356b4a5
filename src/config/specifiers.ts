import { quote, ValueError } from './values.js';

/** systemd.unit(5)'s directories for the system manager, which never differ at run time. */
const directories: Readonly<Record<string, string>> = {
  t: '/run',
  T: '/tmp',
  V: '/var/tmp',
  E: '/etc',
  S: '/var/lib',
  C: '/var/cache',
  L: '/var/log',
};

/**
 * Replaces the specifiers of systemd.unit(5) that a reservation can know: `%%`, `%N` (the name), `%p` and `%i`/`%I`
 * (what is before and after the name's `@`) and the directories. systemd's other ones are refused by name rather than
 * left to be held literally.
 */
export function expandSpecifiers(text: string, name: string): string {
  if (!text.includes('%')) return text;
  // Every systemd from 252 on wants '%%' before an interface; its manual page writes '%', and both can only mean that.
  const scope = /^\[[^\]]*\]:[^%]*%(?!%)/.exec(text)?.[0] ?? '';
  return (
    scope +
    text.slice(scope.length).replace(/%([A-Za-z0-9%]?)/g, (all, letter: string) => expand(all, letter, name))
  );
}

function expand(all: string, letter: string, name: string): string {
  const at = name.indexOf('@');
  const prefix = at === -1 ? name : name.slice(0, at);
  const instance = at === -1 ? '' : name.slice(at + 1);
  if (Object.hasOwn(directories, letter)) return directories[letter] ?? '';
  switch (letter) {
    case '':
    case '%':
      return '%';
    case 'N':
      return name;
    case 'p':
      return prefix;
    case 'i':
      return instance;
    // A name has no backslash, so none of systemd's \xHH to resolve either.
    case 'I':
      return instance.replaceAll('-', '/');
    default:
      throw new ValueError(
        `the specifier ${quote(all)} means nothing in a reservation (write '%%' for a percent sign)`,
      );
  }
}
