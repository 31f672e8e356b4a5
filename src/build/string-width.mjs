// Stands in for the package string-width, with which yargs lays its help out: three copies of it load ICU's segmenter and
// its tables of emoji, 25-40 ms of every start of berth (120 ms before, 77 after). The help has no wide characters.
import { stripVTControlCharacters } from 'node:util';

export default function stringWidth(text) {
  return stripVTControlCharacters(text).length;
}
