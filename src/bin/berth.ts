import { run } from '../commands/main.js';
import { processOutput } from '../commands/output.js';
import { version } from './version.js';

let outputLost = false;

// `berth list | head -1` takes what it wants and closes the pipe, which is no failure of ours. A full disk is.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE' && !outputLost) {
    outputLost = true;
    process.exitCode = 1;
    process.stderr.write(`berth: cannot write the output: ${error.code ?? error.message}\n`);
  }
});
// With nobody left to tell, the exit status has to say it all.
process.stderr.on('error', () => undefined);

run(process.argv.slice(2), version(), processOutput()).then(
  (status) => {
    process.exitCode = outputLost ? 1 : status;
  },
  (fault: unknown) => {
    process.exitCode = 1;
    process.stderr.write(
      `berth: internal error: ${fault instanceof Error ? String(fault.stack) : String(fault)}\n`,
    );
  },
);
