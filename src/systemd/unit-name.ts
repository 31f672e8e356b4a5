/** A unit's name in its parts: `getty@tty1.service` is getty, tty1 and service; a template's instance is ''. */
export interface UnitName {
  readonly prefix: string;
  readonly instance: string | undefined;
  readonly type: string;
}

const shape = /^([A-Za-z0-9:_.\\-]+)(?:@([A-Za-z0-9:_.\\@-]*))?\.([a-z]+)$/;

/** Takes a name apart by the rules of systemd.unit(5); undefined when it is not a unit's. */
export function parseUnitName(name: string): UnitName | undefined {
  const [, prefix, instance, type] = shape.exec(name) ?? [];
  if (prefix === undefined || type === undefined || name.length > 255) return undefined;
  return { prefix, instance, type };
}

export function formatUnitName({ prefix, instance, type }: UnitName): string {
  return `${prefix}${instance === undefined ? '' : `@${instance}`}.${type}`;
}

/** `getty@.service` for `getty@tty1.service`; undefined for what is no instance. */
export function templateOf(name: string): string | undefined {
  const parts = parseUnitName(name);
  return parts?.instance === undefined || parts.instance === ''
    ? undefined
    : formatUnitName({ ...parts, instance: '' });
}

/** The directories' names, below each place of the search path, whose drop-ins count for a unit's name: nearest first. */
export function dropInDirectories(name: string): string[] {
  const parts = parseUnitName(name);
  if (parts === undefined) return [];
  const template = templateOf(name);
  const own = [`${name}.d`, ...(template === undefined ? [] : dropInDirectories(template))];
  // foo-bar-.service.d and foo-.service.d for foo-bar-baz.service. The prefix of a template is a plain name.
  const dash = parts.prefix.replace(/-$/, '').lastIndexOf('-');
  if (dash === -1) return own;
  const instance = parts.instance === '' ? undefined : parts.instance;
  const shorter = formatUnitName({ ...parts, instance, prefix: parts.prefix.slice(0, dash + 1) });
  return [...own, ...dropInDirectories(shorter)];
}
