import type { SocketSpec } from '../model/reservation.js';

/** How a daemon finds the sockets that it is passed. */
export type Takes = 'address' | 'name' | 'number' | 'any' | 'nothing';

/** A variable that tells a daemon which descriptors are its sockets; they begin with 3. */
export interface DescriptorVariable {
  readonly name: string;
  /** Undefined where these sockets cannot be told of. */
  value(sockets: readonly SocketSpec[]): string | undefined;
  /** Ends the sentence "NAME is set, because". */
  readonly because: string;
}

/** What is known of a daemon, and how: by what its package or its documentation has. */
export interface Daemon {
  readonly name: string;
  /** The file names of what ExecStart= runs. */
  readonly programs: readonly RegExp[];
  /** The unit's names, without `.service`, where the program cannot be told from ExecStart=. */
  readonly units: readonly RegExp[];
  /** `store` when it takes what systemd passes, `bind` when it can only bind by itself. */
  readonly handoff: 'store' | 'bind';
  readonly takes: Takes;
  /** Whether a stream socket that does not listen yet is of no use to it. */
  readonly listening?: boolean;
  /** What its own configuration has to say before `handoff` works. Until it does, bind works. */
  readonly configure?: string;
  /** What has to stand in ExecStart= for it to take descriptors. */
  readonly argument?: string;
  readonly variable?: DescriptorVariable;
  /** With inherited sockets it does not go into the background, so Type=forking would wait in vain. */
  readonly staysInForeground?: true;
  /** A symbol in the program without which this build takes no descriptors. */
  readonly symbol?: string;
  /** Whether it binds beside a lent socket: its TCP listeners set SO_REUSEADDR. */
  readonly lend?: true;
  /** Which sockets must never be handed to it, and why. */
  readonly never?: { readonly type: SocketSpec['type']; readonly port?: number; readonly because: string };
  /** Why what it listens on is no reservation of its unit. */
  readonly skip?: string;
  /** For the administrator. */
  readonly note?: string;
}

function addressWord({ address }: SocketSpec): string | undefined {
  switch (address.family) {
    case 'unix':
      return address.path;
    case 'inet':
      return `${address.host}:${address.port}`;
    default:
      return undefined;
  }
}

const takesNothing = { handoff: 'bind', takes: 'nothing' } as const;

/**
 * What well-known daemons can do. `symbol` and the entries with `takesNothing` are what the programs of Debian 12
 * contain: one that knows neither LISTEN_FDS nor sd_listen_fds(3) takes nothing. Of traefik, httpd and a newer Caddy it is
 * their documentation, as Debian has none that could be tried.
 */
export const daemons: readonly Daemon[] = [
  {
    name: 'cupsd',
    programs: [/^cupsd$/],
    units: [/^cups$/],
    handoff: 'store',
    takes: 'address',
    listening: true,
    argument: '-l',
    never: {
      type: 'datagram',
      because:
        'cupsd tells its sockets by address alone, so a UDP socket takes the place of the TCP listener on that port; reserve it with Handoff=none',
    },
    note: 'cups.socket listens on a path only; leave it as it is.',
  },
  {
    name: 'nginx',
    programs: [/^nginx$/],
    units: [/^nginx$/],
    handoff: 'store',
    takes: 'address',
    listening: true,
    variable: {
      name: 'NGINX',
      value: (sockets) => sockets.map((_, index) => `${index + 3};`).join(''),
      because: 'nginx takes descriptors by number from $NGINX, and tells by their addresses which is which',
    },
    staysInForeground: true,
    lend: true,
    note: "Each address has to stand as in nginx's listen lines, 0.0.0.0 and [::] apart.",
  },
  {
    name: 'dovecot',
    programs: [/^dovecot$/],
    units: [/^dovecot$/],
    handoff: 'store',
    takes: 'address',
    argument: '-F',
    note: 'dovecot closes sockets that its configuration does not have.',
  },
  {
    name: 'haproxy',
    programs: [/^haproxy$/],
    units: [/^haproxy$/],
    handoff: 'store',
    takes: 'number',
    listening: true,
    configure: "haproxy.cfg says 'bind fd@3' in the place of the address",
  },
  {
    name: 'unbound',
    programs: [/^unbound$/],
    units: [/^unbound$/],
    handoff: 'store',
    takes: 'address',
    listening: true,
    symbol: 'sd_listen_fds',
    configure: "unbound.conf says 'use-systemd: yes'",
  },
  {
    name: 'caddy',
    programs: [/^caddy$/],
    units: [/^caddy$/],
    handoff: 'store',
    takes: 'number',
    configure:
      "the Caddyfile says 'bind fd/3' (fdgram/4 for HTTP/3), which the Caddy 2.6 of Debian 12 and 13 does not know",
  },
  {
    name: 'traefik',
    programs: [/^traefik$/],
    units: [/^traefik$/],
    handoff: 'store',
    takes: 'name',
    configure:
      'each entry point has a reservation of its own, with its name in FileDescriptorName= (since 3.1)',
  },
  {
    name: 'sshd',
    programs: [/^sshd$/],
    units: [/^sshd?$/],
    handoff: 'store',
    takes: 'any',
    listening: true,
    symbol: 'sd_listen_fds',
    note: 'sshd takes descriptors in Debian and Ubuntu, and then leaves Port and ListenAddress aside.',
  },
  {
    name: 'rpcbind',
    programs: [/^rpcbind$/],
    units: [/^rpcbind$/],
    handoff: 'store',
    takes: 'any',
    symbol: 'sd_listen_fds',
    configure: 'rpcbind.socket keeps ListenStream=/run/rpcbind.sock and loses its ports',
    note: 'rpcbind refuses a socket for both IPv4 and IPv6: list 0.0.0.0:111 and [::]:111 with BindIPv6Only=ipv6-only.',
  },
  {
    name: 'gunicorn',
    programs: [/^gunicorn3?$/],
    units: [/^gunicorn/],
    handoff: 'store',
    takes: 'any',
    note: 'gunicorn takes all that it is passed, and leaves --bind aside.',
  },
  {
    name: 'uwsgi',
    programs: [/^uwsgi(-core)?$/],
    units: [/^uwsgi/],
    handoff: 'store',
    takes: 'any',
    configure:
      "its ini file has no socket= and no http-socket=, and says 'protocol = http' where it speaks that: it takes all that it is passed",
  },
  {
    name: 'lighttpd',
    programs: [/^lighttpd$/],
    units: [/^lighttpd$/],
    handoff: 'store',
    takes: 'address',
    configure: 'lighttpd.conf says \'server.systemd-socket-activation = "enable"\'',
  },
  {
    name: 'php-fpm',
    programs: [/^php-fpm[0-9.]*$/],
    units: [/^php[0-9.]*-fpm$/],
    handoff: 'store',
    takes: 'number',
    listening: true,
    variable: {
      name: 'FPM_SOCKETS',
      value: (sockets) => {
        const words = sockets.map(addressWord);
        return words.includes(undefined)
          ? undefined
          : words.map((word, index) => `${word ?? ''}=${index + 3}`).join(',');
      },
      because: 'php-fpm finds the socket of a pool by its listen address in $FPM_SOCKETS',
    },
  },
  {
    name: 'httpd',
    programs: [/^httpd$/],
    units: [/^httpd$/],
    handoff: 'store',
    takes: 'address',
    configure:
      'mod_systemd can take descriptors (as that of Fedora can; Debian 12 and 13 have none) and every Listen has a reserved port',
  },
  {
    name: 'podman',
    programs: [/^podman$/],
    units: [],
    handoff: 'store',
    takes: 'any',
    configure: 'the program in the container takes descriptors; podman passes them in, and publishes no port',
    skip: 'podman publishes it: take PublishPort= away and reserve the port for the unit, whose container is passed it',
  },
  {
    name: 'docker',
    programs: [/^dockerd$/, /^docker-proxy$/],
    units: [/^docker$/],
    ...takesNothing,
    skip: 'docker publishes it for a container, and would have to be told not to',
  },
  ...(
    [
      ['apache2', [/^apache2$/, /^apache2ctl$/, /^apachectl$/], [/^apache2/]],
      ['rsync', [/^rsync$/], [/^rsyncd?$/], 'lend'],
      ['slapd', [/^slapd$/], [/^slapd$/]],
      ['spamd', [/^spamd$/], [/^spamd$/, /^spamassassin$/], 'lend'],
      ['vsftpd', [/^vsftpd$/], [/^vsftpd$/], 'lend'],
      ['memcached', [/^memcached$/, /^systemd-memcached-wrapper$/], [/^memcached/], 'lend'],
      ['redis', [/^redis-server$/, /^valkey-server$/], [/^redis/, /^valkey/], 'lend'],
      ['dnsmasq', [/^dnsmasq$/], [/^dnsmasq/]],
      ['named', [/^named$/], [/^named/, /^bind9$/], 'lend'],
      ['mosquitto', [/^mosquitto$/], [/^mosquitto$/], 'lend'],
      ['exim4', [/^exim4?$/], [/^exim4?/]],
      ['krb5kdc', [/^krb5kdc$/], [/^krb5-?kdc$/]],
      ['squid', [/^squid$/], [/^squid$/]],
      ['Java', [/^java$/], []],
    ] as const
  ).map(([name, programs, units, lend]): Daemon => {
    return { name, programs, units, ...takesNothing, ...(lend === undefined ? {} : { lend: true }) };
  }),
  {
    name: 'cups-browsed',
    programs: [/^cups-browsed$/],
    units: [/^cups-browsed$/],
    ...takesNothing,
    note: 'cups-browsed binds UDP 631 only with BrowseRemoteProtocols cups, and runs on in silence when it cannot.',
  },
];
