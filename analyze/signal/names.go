package signal

import "strings"

// Names of the signals that every architecture but Alpha, MIPS, PA-RISC and SPARC numbers alike (signal(7)); a second name follows a slash.
var names = []string{1: "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT/SIGIOT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE",
	"SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD/SIGCLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
	"SIGWINCH", "SIGIO/SIGPOLL", "SIGPWR", "SIGSYS/SIGUNUSED", "SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7",
	"SIGRTMIN+8", "SIGRTMIN+9", "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMAX-15", "SIGRTMAX-14",
	"SIGRTMAX-13", "SIGRTMAX-12", "SIGRTMAX-11", "SIGRTMAX-10", "SIGRTMAX-9", "SIGRTMAX-8", "SIGRTMAX-7", "SIGRTMAX-6", "SIGRTMAX-5", "SIGRTMAX-4", "SIGRTMAX-3", "SIGRTMAX-2",
	"SIGRTMAX-1", "SIGRTMAX"}

// Last is the highest signal.
const Last = 64

// Names of signal n, the usual one first; none if there is no such signal.
func Names(n int) []string {
	if n < 1 || n >= len(names) {
		return nil
	}
	return strings.Split(names[n], "/")
}

// SetNames are the usual names of the signals of a set.
func SetNames(set uint64) []string {
	out := []string{}
	for n := 1; n <= Last; n++ {
		if set>>(n-1)&1 != 0 {
			out = append(out, Names(n)[0])
		}
	}
	return out
}

// flagNames in crash's order. SA_RESTORER is x86's and a few others'.
var flagNames = []struct {
	bit  uint64
	name string
}{{0x1, "SA_NOCLDSTOP"}, {0x4000000, "SA_RESTORER"}, {0x2, "SA_NOCLDWAIT"}, {0x4, "SA_SIGINFO"}, {0x8000000, "SA_ONSTACK"}, {0x10000000, "SA_RESTART"},
	{0x40000000, "SA_NODEFER"}, {0x80000000, "SA_RESETHAND"}, {0x400, "SA_UNSUPPORTED"}, {0x800, "SA_EXPOSE_TAGBITS"}}

// FlagNames are the names of the bits of sigaction.sa_flags.
func FlagNames(flags uint64) []string {
	var out []string
	for _, f := range flagNames {
		if flags&f.bit != 0 {
			out = append(out, f.name)
		}
	}
	return out
}
