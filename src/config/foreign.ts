/**
 * What systemd.socket(5) knows and a reservation does not. A [Socket] section is copied over sooner or later, and
 * whoever does that deserves to be told why a line cannot work here, and what to do instead.
 */

const starts = 'berth never starts anything because of traffic';
const otherKinds = 'berth holds sockets of TCP, UDP and AF_UNIX';
const commands = 'a reservation runs no commands';

/** Key of [Socket] → why it cannot stand in a reservation, and what to do. */
export const refusals: ReadonlyMap<string, string> = new Map(
  Object.entries({
    MaxConnections: `it counts instances of Accept=yes, and ${starts}; limit connections in the service`,
    MaxConnectionsPerSource: `it counts instances of Accept=yes, and ${starts}; limit connections in the service`,
    TriggerLimitIntervalSec: `it limits activation, and ${starts}; remove it`,
    TriggerLimitBurst: `it limits activation, and ${starts}; remove it`,
    PollLimitIntervalSec: `it limits activation, and ${starts}; remove it`,
    PollLimitBurst: `it limits activation, and ${starts}; remove it`,
    DeferTrigger: `it delays activation, and ${starts}; remove it`,
    DeferTriggerMaxSec: `it delays activation, and ${starts}; remove it`,
    Service:
      'here it would name what traffic starts; move it to [Reservation], where it names who gets the sockets',
    ListenFIFO: `${otherKinds}, and nothing else can take a FIFO; keep it in a .socket unit`,
    ListenSpecial: `${otherKinds}, and nothing else can take a device; keep it in a .socket unit`,
    ListenNetlink: `${otherKinds}, and a netlink group can be joined by many; keep it in a .socket unit`,
    ListenMessageQueue: `${otherKinds}, and nothing else can take a message queue; keep it in a .socket unit`,
    ListenUSBFunction: `${otherKinds}, and no USB endpoints; keep it in a .socket unit`,
    PipeSize: 'it is about ListenFIFO=, which berth does not hold; remove it',
    MessageQueueMaxMessages: 'it is about ListenMessageQueue=, which berth does not hold; remove it',
    MessageQueueMessageSize: 'it is about ListenMessageQueue=, which berth does not hold; remove it',
    ExecStartPre: `${commands}; put it into the service or a unit of its own`,
    ExecStartPost: `${commands}; put it into the service or a unit of its own`,
    ExecStopPre: `${commands}; put it into the service or a unit of its own`,
    ExecStopPost: `${commands}; put it into the service or a unit of its own`,
    TimeoutSec: `it limits the commands of a .socket unit, and ${commands}; remove it`,
    SmackLabel: 'berth sets no SMACK labels; keep this socket in a .socket unit',
    SmackLabelIPIn: 'berth sets no SMACK labels; keep this socket in a .socket unit',
    SmackLabelIPOut: 'berth sets no SMACK labels; keep this socket in a .socket unit',
    PassFileDescriptorsToExec: `it is about the commands of a .socket unit, and ${commands}; remove it`,
    XAttrEntryPoint: 'berth sets no extended attributes; remove it',
    XAttrListen: 'berth sets no extended attributes; remove it',
    XAttrAccept: 'berth sets no extended attributes; remove it',
    ListenStreamNoActivate: 'it is for .socket units; nothing here activates, so write ListenStream=',
    ListenDatagramNoActivate: 'it is for .socket units; nothing here activates, so write ListenDatagram=',
    ListenSequentialPacketNoActivate:
      'it is for .socket units; nothing here activates, so write ListenSequentialPacket=',
  }),
);

/** Key of [Socket] → why it cannot be switched on. Switched off, it says what berth does anyway. */
export const refusedSwitches: ReadonlyMap<string, string> = new Map(
  Object.entries({
    Accept: `it starts an instance for each connection, and ${starts}; keep such a service in a .socket unit`,
    Writable: `it is about ListenSpecial=, which berth does not hold; remove it`,
    FlushPending:
      'berth empties no queues for a service; WhileStopped=refuse lets nothing pend while it is stopped',
    PassSecurity: 'berth does not set SO_PASSSEC; the service can, on the socket that it gets',
    PassPIDFD: 'berth does not set SO_PASSPIDFD; the service can, on the socket that it gets',
    AcceptFileDescriptors: 'without effect; remove it',
    SELinuxContextFromNet: `it is about the instances of Accept=yes, and ${starts}; remove it`,
    Timestamping: 'berth does not set SO_TIMESTAMP; the service can, on the socket that it gets',
  }),
);

/** The switches above whose default is on. */
export const onByDefault: ReadonlySet<string> = new Set(['AcceptFileDescriptors']);

/** The keys of systemd.exec(5), systemd.kill(5) and systemd.resource-control(5), which a .socket unit takes, too. */
const forCommands = new Set(
  `WorkingDirectory RootDirectory RootImage RootImageOptions RootImagePolicy RootEphemeral RootHash RootHashSignature
  RootVerity RootMStack ExtensionDirectories ExtensionImages ExtensionImagePolicy MountImages MountImagePolicy User Group
  SupplementaryGroups SetLoginEnvironment Nice OOMScoreAdjust CoredumpFilter IOSchedulingClass IOSchedulingPriority
  CPUSchedulingPolicy CPUSchedulingPriority CPUSchedulingResetOnFork CPUAffinity NUMAPolicy NUMAMask UMask Environment
  EnvironmentFile PassEnvironment UnsetEnvironment DynamicUser RemoveIPC StandardInput StandardOutput StandardError
  StandardInputText StandardInputData TTYPath TTYReset TTYVHangup TTYVTDisallocate TTYRows TTYColumns SyslogIdentifier
  SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax LogRateLimitIntervalSec LogRateLimitBurst LogFilterPatterns
  LogExtraFields SecureBits CapabilityBoundingSet AmbientCapabilities TimerSlackNSec NoNewPrivileges KeyringMode
  ProtectProc ProcSubset SystemCallFilter SystemCallArchitectures SystemCallErrorNumber SystemCallLog
  MemoryDenyWriteExecute RestrictNamespaces DelegateNamespaces RestrictRealtime RestrictSUIDSGID
  RestrictAddressFamilies LockPersonality RestrictFileSystems LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS
  LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME
  ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories ReadWritePaths ReadOnlyPaths InaccessiblePaths
  ExecPaths NoExecPaths ExecSearchPath BindPaths BindReadOnlyPaths TemporaryFileSystem PrivateTmp PrivateDevices
  ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectClock ProtectControlGroups NetworkNamespacePath
  IPCNamespacePath LogNamespace PrivateNetwork PrivateUsers PrivateMounts PrivateIPC PrivatePIDs PrivateBPF ProtectSystem
  ProtectHome MountFlags MountAPIVFS BindLogSockets Personality RuntimeDirectoryPreserve RuntimeDirectoryMode
  RuntimeDirectory StateDirectoryMode StateDirectory StateDirectoryQuota CacheDirectoryMode CacheDirectory
  CacheDirectoryQuota LogsDirectoryMode LogsDirectory LogsDirectoryQuota ConfigurationDirectoryMode
  ConfigurationDirectory SetCredential SetCredentialEncrypted LoadCredential LoadCredentialEncrypted ImportCredential
  TimeoutCleanSec PAMName IgnoreSIGPIPE UtmpIdentifier UtmpMode SELinuxContext AppArmorProfile SmackProcessLabel
  ProtectHostname MemoryKSM MemoryTHP Slice AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes
  CPUAccounting CPUWeight StartupCPUWeight CPUShares StartupCPUShares CPUQuota CPUQuotaPeriodSec MemoryAccounting
  MemoryMin DefaultMemoryMin DefaultMemoryLow DefaultStartupMemoryLow MemoryLow StartupMemoryLow MemoryHigh
  StartupMemoryHigh MemoryMax StartupMemoryMax MemorySwapMax StartupMemorySwapMax MemoryZSwapMax StartupMemoryZSwapMax
  MemoryZSwapWriteback MemoryLimit DeviceAllow DevicePolicy IOAccounting IOWeight StartupIOWeight IODeviceWeight
  IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax IODeviceLatencyTargetSec BlockIOAccounting
  BlockIOWeight StartupBlockIOWeight BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth TasksAccounting
  TasksMax Delegate DelegateSubgroup DisableControllers IPAccounting IPAddressAllow IPAddressDeny IPIngressFilterPath
  IPEgressFilterPath ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit
  ManagedOOMMemoryPressureDurationSec ManagedOOMPreference MemoryPressureWatch MemoryPressureThresholdSec NFTSet
  CoredumpReceive BPFProgram SocketBindAllow SocketBindDeny RestrictNetworkInterfaces SendSIGKILL SendSIGHUP KillMode
  KillSignal RestartKillSignal FinalKillSignal WatchdogSignal`.split(/\s+/),
);

/** Why a key that systemd takes in [Socket] cannot stand in a reservation; undefined for keys that it does not know. */
export function refusalOf(key: string): string | undefined {
  return (
    refusals.get(key) ??
    (forCommands.has(key)
      ? `it is about the commands of a .socket unit, and ${commands}; remove it`
      : undefined)
  );
}
