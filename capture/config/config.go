// Package config is the configuration of capturing: one file of kdx's own, what each key means, and what the configurations of
// others (SUSE's kdump, Debian's kdump-tools, Red Hat's kdump-utils) become in it. Others' files are parsed, never run.
package config

import (
	"fmt"
	"time"
)

// Path is where the configuration lies.
const Path = "/etc/kdx/capture.conf"

// Config is what a file says, with the defaults where it says nothing. Sizes are bytes.
type Config struct {
	// Targets are tried in this order until one has taken the dump.
	Targets []Target
	// Level is the dump level, 0 to 31.
	Level int
	// Codec of pages, and its own level, 0 for its fastest.
	Codec      string
	CodecLevel int
	// Redact are rules as kdx convert --redact takes them, EraseConfig a file as its --erase-config; "" is none.
	Redact      []string
	EraseConfig string
	// Keep is how many dumps stay on a target when a new one is whole; 0 is all. KeepFree is what must stay free.
	Keep     int
	KeepFree uint64

	// Kernel is the image of the capture kernel, "" for the running one's. Initrd is where the capture initrd is written.
	Kernel, Initrd string
	// Modules are needed beyond those that kdx finds.
	Modules []string
	// Cmdline replaces the running kernel's command line; "" takes that. Then words go and others come.
	Cmdline       string
	CmdlineRemove []string
	CmdlineAppend []string
	// CPUs that the capture kernel starts; 0 is all, AutoCPUs as many as have room.
	CPUs int
	// Consoles are written to, as in console=; nil takes those of the command line.
	Consoles []string

	SSHKey, KnownHosts string
	// Networks are set up if a target needs them; nil takes the running host's way to the target.
	Networks []Network

	FinalAction, FailureAction string
	PreHooks, PostHooks        []string
	HookFiles                  []string

	DeviceTimeout, NetworkTimeout, HookTimeout, SaveTimeout, TriageTimeout time.Duration
	// Memory is the limit of each stage; 0 is what the capture kernel leaves.
	Memory uint64
	// Watchdog is a device, "" for the first there is, "off" for none.
	Watchdog string

	// Sysctls are set when the host is armed, as name=value.
	Sysctls []string
}

// Default is the configuration without a file.
func Default() *Config {
	var c Config
	for i := range keys {
		k := &keys[i]
		for _, v := range k.Default {
			if err := k.set(&c, v); err != nil {
				panic("config: default of " + k.Name + ": " + err.Error()) // a fault of the table, which a test finds
			}
		}
	}
	return &c
}

// Origin says where the value of a key comes from.
type Origin struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Key is the other configuration's key, if it was taken from one.
	Key string `json:"key,omitempty"`
}

func (o Origin) String() string {
	s := fmt.Sprintf("%s:%d", o.File, o.Line)
	if o.Key != "" {
		s += " " + o.Key
	}
	return s
}

// Problem is what is wrong in a file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Column counts bytes from 1; 0 is the whole line.
	Column int    `json:"column"`
	Key    string `json:"key"`
	What   string `json:"what"`
	// Want says what should be there, and what may have been meant.
	Want string `json:"want"`
}

func (p *Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if p.Column > 0 {
		s += fmt.Sprintf(":%d", p.Column)
	}
	s += ": " + p.What
	if p.Want != "" {
		s += "; " + p.Want
	}
	return s
}
