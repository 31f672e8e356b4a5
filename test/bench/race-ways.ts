import { peer, reservation, reservations } from '../lab/claims.js';
import type { LabOptions } from '../lab/lab.js';

export const port = 631;

/** A way of starting a service on a port. `promised` is what must not happen, where it is berth's. */
export interface Way {
  readonly name: string;
  readonly lab: LabOptions;
  readonly promised: readonly ('thefts' | 'failed starts' | 'refused')[];
}

const sockets = [`ListenStream=${port}`, `ListenDatagram=${port}`];

const given = `${peer} serve --notify`;
const binds = `${peer} serve --bind :: ${port} --notify`;
const shares = `${peer} serve --share :: ${port} --notify`;

function service(command: string, ...more: string[]): string {
  return `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=${command}
${more.join('\n')}
`;
}

function berth(
  name: string,
  command: string,
  settings: readonly string[],
  promised: Way['promised'] = ['thefts', 'failed starts'],
): Way {
  return {
    name: `berth ${name}`,
    promised,
    lab: {
      units: { 'web.service': service(command) },
      files: reservations({ web: reservation(sockets, settings) }),
    },
  };
}

/** s6-fdholderd with two sockets in it; the service fetches them as 0, and has them where it looks for them. */
const fdHolder: Way = {
  name: 's6-fdholder',
  promised: [],
  lab: {
    berth: false,
    packages: ['s6'],
    units: {
      'holder.service': `[Unit]
Before=web.service
[Service]
ExecStartPre=mkdir -p /run/rules/uid/default/env /run/rules/gid
ExecStartPre=touch /run/rules/uid/default/allow
ExecStartPre=sh -c 'for right in STORE RETRIEVE; do echo ".*" >/run/rules/uid/default/env/S6_FDHOLDER_$\${right}_REGEX; done'
ExecStart=s6-fdholder-daemon -i /run/rules /run/fdholder
ExecStartPost=sh -c 'until test -S /run/fdholder; do sleep .05; done'
ExecStartPost=${peer} pass tcp :: ${port} s6-fdholder-store /run/fdholder tcp
ExecStartPost=${peer} pass udp :: ${port} s6-fdholder-store /run/fdholder udp
[Install]
WantedBy=multi-user.target
`,
      'web.service': service(
        `sh -c 'exec s6-fdholder-retrieve /run/fdholder tcp sh -c "exec 3<&0; exec s6-fdholder-retrieve /run/fdholder udp sh /etc/web"'`,
      ),
    },
    enable: ['holder.service'],
    files: {
      '/etc/web': `exec 4<&0\nLISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=tcp:udp exec ${given}\n`,
    },
  },
};

const socketUnit: Way = {
  name: 'systemd .socket',
  promised: [],
  lab: {
    berth: false,
    units: {
      'web.socket': `[Socket]\n${sockets.join('\n')}\n[Install]\nWantedBy=sockets.target\n`,
      'web.service': service(given),
    },
    enable: ['web.socket'],
  },
};

/** Nothing holds the port at all while the service is not there. */
const plain: Way = {
  name: 'nothing',
  promised: [],
  lab: { berth: false, units: { 'web.service': service(binds) } },
};

export const ways: readonly Way[] = [
  plain,
  // Closes, as portrelease has it done, and takes the port back after each stop, as portreserve never did.
  berth('release (as portrelease)', binds, ['Handoff=release'], []),
  socketUnit,
  fdHolder,
  berth('exec', given, ['Handoff=exec']),
  berth('exec, queue', given, ['Handoff=exec', 'WhileStopped=queue'], ['thefts', 'failed starts', 'refused']),
  berth('store', given, ['Handoff=store']),
  berth(
    'store, queue',
    given,
    ['Handoff=store', 'WhileStopped=queue'],
    ['thefts', 'failed starts', 'refused'],
  ),
  berth('bind', binds, ['Handoff=bind']),
  // What sets SO_REUSEADDR, too, can win during a loan: the man page says so.
  berth('lend', shares, ['Handoff=lend'], []),
];
