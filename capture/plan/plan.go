// Package plan is what the builder of the capture initrd leaves for kdx-init: everything that the running host knew and the capture kernel
// has to know, in one JSON file.
package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"kdx/capture/config"
	"kdx/capture/network"
	"kdx/capture/storage"
	"kdx/internal/unpack"
)

// Path is where the plan lies in the initrd.
const Path = "/kdx/plan.json"

// Version of the form. kdx-init takes its own only: both are parts of one initrd.
const Version = 1

// Plan is what the capture kernel does. It holds no times and nothing random: a plan that is made twice on an unchanged host is the same.
type Plan struct {
	Version int `json:"version"`
	// Kdx is the version that built the initrd, Host the name of the running host.
	Kdx  string `json:"kdx"`
	Host string `json:"host"`
	// Release is the capture kernel's, for which the modules are.
	Release string `json:"release"`
	// BuildID is that of the kernel which ran when the initrd was built, hexadecimal; "" if it was not known.
	BuildID string `json:"build_id,omitempty"`
	// Config is the configuration as it was then. Files of it that kdx-init needs have the paths that they have in the initrd.
	Config config.Config `json:"config"`
	// Modules in the order in which they are loaded.
	Modules []Module `json:"modules"`
	Targets []Target `json:"targets"`
	// Links lead to the hosts of all targets.
	Links []network.Link `json:"links,omitempty"`
	// Types is the path in the initrd of what was resolved of the running kernel's types; "" if they do not travel with it.
	Types string `json:"types,omitempty"`
}

// Module is a kernel module in the initrd.
type Module struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Params are given to it, those of the capture kernel's command line behind them.
	Params string `json:"params,omitempty"`
	// Optional modules are not missed if the kernel refuses them.
	Optional bool `json:"optional,omitempty"`
}

// Target is a configured one with what the host knew of it. A directory of the host (config.Dir) has become the filesystem that it is on.
type Target struct {
	config.Target
	// Configured is the target as it was written.
	Configured string `json:"configured"`
	// Device is what a local target is on.
	Device *storage.Device `json:"device,omitempty"`
	// MountOptions are those that the host has it mounted with, as far as they matter.
	MountOptions string `json:"mount_options,omitempty"`
	// Addresses of Host when the initrd was built.
	Addresses []string `json:"addresses,omitempty"`
}

// NeedsNetwork says whether a target of the plan is reached over the network.
func (p *Plan) NeedsNetwork() bool {
	for _, t := range p.Targets {
		if t.Kind == config.SFTP || t.Kind == config.SSH {
			return true
		}
	}
	return false
}

// maxSize of a plan in bytes: one of a thousand disks has some hundred kB.
const maxSize = 8 << 20

// Read reads a plan. Its errors name the file.
func Read(name string) (*Plan, error) {
	f, _, err := unpack.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("the plan of this capture initrd: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("the plan of this capture initrd: %w", err)
	}
	p, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("the plan of this capture initrd (%s): %w", name, err)
	}
	return p, nil
}

// Parse reads a plan strictly: what it does not know, it refuses.
func Parse(b []byte) (*Plan, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("longer than %d bytes, which no plan is", maxSize)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("it is no plan: %w", err)
	}
	if v.Version != Version {
		return nil, fmt.Errorf("it is of version %d, this kdx reads %d: build the initrd anew with kdx capture initrd build", v.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var p Plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("it is damaged, or another kdx's: %w", err)
	}
	return &p, p.Check()
}

// Bytes is the plan as Parse reads it.
func (p *Plan) Bytes() ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Check says what is wrong with a plan.
func (p *Plan) Check() error {
	if len(p.Targets) == 0 {
		return errors.New("it has no target")
	}
	if p.Types != "" {
		if err := inside(p.Types); err != nil {
			return err
		}
	}
	for _, m := range p.Modules {
		if err := inside(m.Path); err != nil {
			return fmt.Errorf("module %s: %w", m.Name, err)
		}
	}
	for i := range p.Targets {
		if err := p.Targets[i].check(); err != nil {
			return fmt.Errorf("target %q: %w", p.Targets[i].Configured, err)
		}
	}
	for i := range p.Links {
		if err := p.Links[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) check() error {
	switch t.Kind {
	case config.FS, config.Raw:
		if t.Device == nil {
			return errors.New("its device is missing")
		}
		return t.Device.Check()
	case config.SFTP, config.SSH:
		if t.Host == "" {
			return errors.New("its host is missing")
		}
		return nil
	}
	return fmt.Errorf("%q is no kind of target in a capture kernel", t.Kind)
}

// inside says whether a path is one of the initrd's.
func inside(name string) error {
	if !strings.HasPrefix(name, "/") || path.Clean(name) != name {
		return fmt.Errorf("%q is no clean absolute path", name)
	}
	return nil
}
