/**
 * `text` with every control and format character escaped. A process names itself and an AF_UNIX path may hold
 * anything: neither may move the cursor, fake a line or turn the direction of writing on the reader's terminal.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, escape);
}

function escape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  switch (character) {
    case '\n':
      return '\\n';
    case '\t':
      return '\\t';
  }
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** `1 socket`, `2 sockets`. */
export function count(number: number, singular: string, plural = `${singular}s`): string {
  return `${number} ${number === 1 ? singular : plural}`;
}
