package task

// Bits of task_struct.__state and exit_state (include/linux/sched.h). Their values have stood since 4.14; the names are
// macros, so that no type information holds them.
const (
	stateInterruptible   = 0x1
	stateUninterruptible = 0x2
	stateStopped         = 0x4
	stateTraced          = 0x8
	exitDead             = 0x10
	exitZombie           = 0x20
	stateParked          = 0x40
	stateDead            = 0x80
	stateWaking          = 0x200
	stateNoLoad          = 0x400
	stateNew             = 0x800
)

// StateName is the two-letter state that crash's users know: RU running or runnable, IN interruptible sleep, UN
// uninterruptible sleep, ID idle kernel thread, ST stopped, TR traced, ZO zombie, DE dead, PA parked, WA waking, NE new.
func (t *Task) StateName() string {
	switch {
	case t.ExitState&exitZombie != 0:
		return "ZO"
	case t.ExitState&exitDead != 0:
		return "DE"
	}
	switch s := t.State; {
	case s&stateDead != 0:
		return "DE"
	case s&stateNew != 0:
		return "NE"
	case s&stateWaking != 0:
		return "WA"
	case s&stateParked != 0:
		return "PA"
	case s&stateTraced != 0:
		return "TR"
	case s&stateStopped != 0:
		return "ST"
	case s&stateUninterruptible != 0 && s&stateNoLoad != 0:
		return "ID"
	case s&stateUninterruptible != 0:
		return "UN"
	case s&stateInterruptible != 0:
		return "IN"
	case s == 0:
		return "RU"
	}
	return "??"
}

// StateNames are all that StateName returns.
var StateNames = []string{"RU", "IN", "UN", "ID", "ST", "TR", "ZO", "DE", "PA", "WA", "NE"}

// LongState is the state's name in the kernel's sources.
func (t *Task) LongState() string {
	switch t.StateName() {
	case "RU":
		return "TASK_RUNNING"
	case "IN":
		return "TASK_INTERRUPTIBLE"
	case "UN":
		return "TASK_UNINTERRUPTIBLE"
	case "ID":
		return "TASK_IDLE"
	case "ST":
		return "TASK_STOPPED"
	case "TR":
		return "TASK_TRACED"
	case "ZO":
		return "EXIT_ZOMBIE"
	case "DE":
		return "TASK_DEAD"
	case "PA":
		return "TASK_PARKED"
	case "WA":
		return "TASK_WAKING"
	case "NE":
		return "TASK_NEW"
	}
	return "(unknown)"
}

// Policies are the scheduling policies by number (include/uapi/linux/sched.h); 4 was never used in mainline, but has its name.
var Policies = map[uint32]string{0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 4: "ISO", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}
