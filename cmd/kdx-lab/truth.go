package main

// truth is what a guest says about itself just before it dies.
type truth struct {
	TakenNs  int64             `json:"taken_ns"`  // wall clock, nanoseconds since 1970
	BootNs   int64             `json:"boot_ns"`   // CLOCK_BOOTTIME when taken
	Uname    []string          `json:"uname"`     // sysname nodename release version machine
	CPUs     int               `json:"cpus"`      // online
	PageSize int               `json:"page_size"` // bytes
	Tasks    []truthTask       `json:"tasks"`
	Kallsyms truthKallsyms     `json:"kallsyms"`
	Proc     map[string]string `json:"proc"` // files of /proc and /sys by path, as they read
	Kmsg     []string          `json:"kmsg"` // records of /dev/kmsg
	BPF      truthBPF          `json:"bpf"`

	Neighbours []truthNeighbour `json:"neighbours"` // of the network's tables
}

// truthNeighbour is an entry of a table of neighbours, whose state is the kernel's bits (NUD_…).
type truthNeighbour struct {
	Device string `json:"device"`
	IP     string `json:"ip"`
	HW     string `json:"hw"`
	State  int    `json:"state"`
}

// truthTask is one thread. Quiet says that nothing about its scheduling changed while the truth was taken, so that the dump must agree.
type truthTask struct {
	TID     int               `json:"tid"`
	Stat    string            `json:"stat"`   // /proc/PID/task/TID/stat
	Status  string            `json:"status"` // /proc/PID/task/TID/status
	Stack   []string          `json:"stack"`  // functions of /proc/PID/task/TID/stack, innermost first
	Wchan   string            `json:"wchan"`
	Syscall string            `json:"syscall"`
	Cgroup  string            `json:"cgroup"`
	Quiet   bool              `json:"quiet"`
	Leader  map[string]string `json:"leader,omitempty"` // of a process: cmdline, exe, cwd, root, maps, smaps (sizes alone), environ, limits
	Files   map[string]string `json:"files,omitempty"`  // of a process: descriptor → link
	// Spaces are the namespaces of a process (net → net:[4026531840]); Inner is what it alone sees, of processes that do not live in those
	// of the process that took the truth: files below /proc/PID by their name there.
	Spaces map[string]string `json:"spaces,omitempty"`
	Inner  map[string]string `json:"inner,omitempty"`
}

// truthKallsyms is a summary of /proc/kallsyms: it is large.
type truthKallsyms struct {
	Lines  int         `json:"lines"` // of the kernel proper
	Module int         `json:"module_lines"`
	SHA256 string      `json:"sha256"` // of the kernel's own lines, "address type name\n"
	Sample [][3]string `json:"sample"` // address, type, name
	// ModuleSample are symbols of modules: address, type, name, module.
	ModuleSample [][4]string `json:"module_sample"`
	// Bounds are addresses that tell code apart: sections of text, by symbol.
	Bounds map[string]string `json:"bounds"`
}

// truthBPF is what the BPF system call lists.
type truthBPF struct {
	Programs []truthProgram `json:"programs"`
	Maps     []truthMap     `json:"maps"`
	Links    []uint32       `json:"links"`
}

type truthProgram struct {
	ID    uint32   `json:"id"`
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Tag   string   `json:"tag"`
	Jited uint32   `json:"jited"` // bytes
	Maps  []uint32 `json:"maps"`
	Ksyms []string `json:"ksyms"` // addresses of the compiled functions
}

type truthMap struct {
	ID         uint32 `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	KeySize    uint32 `json:"key_size"`   // bytes
	ValueSize  uint32 `json:"value_size"` // bytes
	MaxEntries uint32 `json:"max_entries"`
}
