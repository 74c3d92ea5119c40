package view

import (
	"fmt"

	"kdx/analyze/vmem"
)

// Code is a function of the kernel that something points to.
type Code struct {
	Addr   vmem.Addr `json:"address"`
	Name   string    `json:"name"`   // "" if no symbol covers the address
	Offset uint64    `json:"offset"` // bytes; 0 but for pointers into a function
	Module string    `json:"module,omitempty"`
}

// label is "name+offset", or the address where there is no name.
func (c *Code) label() string {
	switch {
	case c.Name == "":
		return fmt.Sprintf("%x", uint64(c.Addr))
	case c.Offset != 0:
		return fmt.Sprintf("%s+%d", Printable(c.Name), c.Offset)
	}
	return Printable(c.Name)
}
