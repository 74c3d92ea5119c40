package commands

import (
	"fmt"

	"kdx/analyze/swap"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
)

func swapCommand() *Command {
	return &Command{
		Name: "swap", Group: "memory", Summary: "swap devices and files, and how full they are", Needs: NeedsTypes,
		Usage: []string{""},
		Help: "USED is what the kernel counts. Slots are counted one by one, too: where that gives another number, as on a machine that crashed while it swapped, " +
			"it stands behind the name. Of devices of equal priority (PRI) the kernel takes turns; the highest goes first.",
		Examples: []Example{{"swap", "all that are on"}, {"swap | grep PARTITION", "of them the devices"}},
		Run:      runSwap,
	}
}

func runSwap(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{c.Cmd.Name, "takes no arguments"}
	}
	devices, err := swap.Devices(c.View)
	if err != nil {
		return nil, err
	}
	out := view.SwapDevices{}
	for _, d := range devices {
		size := c.View.PageSize()
		s := view.SwapDevice{Addr: d.Addr, Index: d.Index, Size: d.Pages * size, Used: d.InUse * size, Priority: d.Priority, Active: d.Active()}
		if d.Block != nil {
			kind := "FILE"
			if *d.Block {
				kind = "PARTITION"
			}
			s.Type = &kind
		}
		if d.Counted != nil {
			n := *d.Counted * size
			s.Counted = &n
		}
		name, err := vfs.FilePath(c.View, d.File)
		if err != nil {
			c.View.Gap(fmt.Sprintf("name of swap device %d", d.Index), err)
		} else {
			s.File = &name
		}
		out = append(out, s)
	}
	return out, nil
}
