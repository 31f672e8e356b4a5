// Completion in the shells themselves, with the names that berthd holds and those in the files.
import assert from 'node:assert/strict';
import { reservation, reservations } from './claims.js';
import { withLab, type Lab } from './lab.js';
import { labTest } from './requirements.js';

/** Types in a zsh on a terminal, presses the tab key, and prints the line as it is then. */
const typing = `
zmodload zsh/zpty
zpty z zsh -f -i
expect() {
  local text
  repeat 500; do
    zpty -r -t z text && seen+=$text
    [[ $seen == *$~1* ]] && return
    sleep 0.02
  done
  print -u2 -r -- "waited in vain for $1; zsh printed: $seen"
  exit 1
}
zpty -w z 'PS1= RPS1=; autoload -Uz compinit; compinit -u -D; show() { print -r -- "LINE<$BUFFER>" }; zle -N show; bindkey "^X" show; print rea""dy'
expect ready
for line in "$@"; do
  seen=
  zpty -w -n z $line$'\\t'
  zpty -w -n z $'\\x18'
  expect 'LINE<*>'
  [[ $seen =~ 'LINE<([^>]*)>' ]] && print -r -- $match[1]
  zpty -w -n z $'\\x15'
done
`;

async function zsh(lab: Lab, ...lines: string[]): Promise<string[]> {
  const text = await lab.text(['zsh', '-f', '-c', typing, 'zsh', ...lines]);
  return text.split('\n').map((line) => line.trimEnd());
}

/** What bash offers, in a shell that loads the completion as it does for a user. */
async function bash(lab: Lab, ...words: string[]): Promise<string[]> {
  const script = `
    source /usr/share/bash-completion/completions/berth
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _berth
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const text = await lab.text(['bash', '--norc', '-c', script, 'bash', ...words]);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

labTest(
  'completes verbs, options, names and ports in zsh and in bash, with berthd and without',
  async (t) => {
    const files = reservations({
      webserver: reservation(['ListenStream=7201'], ['Handoff=exec']),
      mail: reservation(['ListenStream=127.0.0.1:7202', 'ListenDatagram=7202'], ['Handoff=none']),
    });
    await withLab(t, { packages: ['zsh'], files, degraded: true }, async (lab) => {
      assert.deepEqual(
        await zsh(
          lab,
          'berth verif',
          'berth status web',
          'berth verify mail web',
          'berth watch --cou',
          'berth --json=pre',
          'berth --no-p',
        ),
        [
          'berth verify',
          'berth status webserver',
          'berth verify mail webserver',
          'berth watch --count=',
          'berth --json=pretty',
          'berth --no-pager',
        ],
      );
      assert.deepEqual(await zsh(lab, 'berth why 7201'), ['berth why 7201/tcp']);
      assert.deepEqual(await bash(lab, 'berth', 'verify', ''), ['mail', 'webserver']);
      assert.deepEqual(await bash(lab, 'berth', 'why', ''), [
        '7201',
        '7201/tcp',
        '7202',
        '7202/tcp',
        '7202/udp',
      ]);

      await lab.systemctl('stop', 'berth.socket', 'berth.service');
      assert.deepEqual(await zsh(lab, 'berth status web'), ['berth status webserver']);
      assert.deepEqual(await bash(lab, 'berth', 'status', ''), ['mail', 'webserver']);
      assert.deepEqual(await bash(lab, 'berth', 'why', ''), []);

      await lab.write('/etc/portreserve/printing', '631\n');
      const named = ['berth check /etc/berth/webs', 'berth check /etc/portreserve/print'];
      assert.deepEqual(await zsh(lab, ...named), [
        'berth check /etc/berth/webserver.conf',
        'berth check /etc/portreserve/printing',
      ]);
    });
  },
);
