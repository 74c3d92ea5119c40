package commands

import "kdx/analyze/view"

func wrCommand() *Command {
	return &Command{
		Name: "wr", Group: "symbols and types", Summary: "refused: kdx changes no memory", Raw: true,
		Usage: []string{"…"},
		Help: "crash's wr writes into the memory of a running kernel. kdx does not: a dump is evidence, and the kernel offers /proc/kcore, through which kdx looks at a running one, for reading only. " +
			"Where a running kernel is to be changed, its own interfaces (/proc/sys, /sys, livepatch) do so with its locks held.",
		Examples: []Example{{"wr jiffies 0", "says why not; rd jiffies shows it"}, {"wr -p 1000 0", "so for any address"}},
		Run: func(c *Call) (view.Result, error) {
			return nil, &UsageError{"wr", "kdx changes no memory, neither a dump's nor a running kernel's: rd shows it"}
		},
	}
}
