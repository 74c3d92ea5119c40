package initd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"kdx/analyze/kernel"
	"kdx/analyze/scrub"
	"kdx/capture/config"
	"kdx/capture/manifest"
	"kdx/capture/network"
	"kdx/capture/plan"
	"kdx/capture/save"
	"kdx/capture/target"
	"kdx/dumpfmt"
)

// saved is what PID 1 must know of a save.
type saved struct {
	Dir string `json:"dir"`
}

// place is the order's target as package target knows it.
func place(p *plan.Plan, t *plan.Target, o order) target.Place {
	out := target.Of(t.Target, &p.Config, o.Mount, o.Device)
	out.Name = t.Configured
	out.Host.Addresses = t.Addresses
	return out
}

// errPlain is why the kernel isn't looked at.
var errPlain = errors.New("an attempt to understand it ended the process that did")

func saveDump(ctx context.Context, s *stage) (any, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	c := &p.Config
	job := save.Job{
		VMCore: save.ProcVMCore, Host: p.Host, Level: c.Level, Codec: c.Codec, CodecLevel: c.CodecLevel, Types: p.Types,
		Timeout: c.SaveTimeout, Keep: c.Keep, Version: p.Kdx,
		Progress: s.progress(), Written: s.written, Log: s.log,
	}
	if job.Rules, err = rules(c); err != nil {
		return nil, err
	}
	var t *plan.Target
	if !s.ahead() {
		if t, err = s.targetOf(p); err != nil {
			return nil, err
		}
		if s.order.Plain {
			job.Open = func(context.Context, *dumpfmt.Image) (*kernel.Kernel, error) { return nil, errPlain }
		}
	}
	dump, err := save.Open(ctx, job)
	if err != nil {
		return nil, err
	}
	defer dump.Close()
	if s.ahead() {
		if t, err = s.targetOf(p); err != nil {
			return nil, err
		}
	}
	job.Workers = saveWorkers()
	job.Places, job.More = []target.Place{place(p, t, s.order)}, s.order.Target < len(p.Targets)-1
	if err := s.awaitHost(ctx, c, job.Places[0]); err != nil {
		return nil, err
	}
	res, err := dump.Run(ctx, job)
	if err == nil {
		fmt.Printf("saved: %s\n", res.Path)
	}
	return saved{Dir: res.Dir}, err
}

// saveWorkers is one a CPU where there is memory for them.
func saveWorkers() int {
	const soft = tight / 8 * 5 // of the limit on memory, see allow
	if debug.SetMemoryLimit(-1) < soft {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}

// awaitHost waits until a target on another host answers: right after its link came up a network may not carry anything yet.
func (s *stage) awaitHost(ctx context.Context, c *config.Config, p target.Place) error {
	if p.Kind != config.SFTP && p.Kind != config.SSH {
		return nil
	}
	_, port, err := net.SplitHostPort(p.Host.Address())
	if err != nil {
		return err
	}
	var addresses []string
	for _, a := range p.Host.Addresses {
		addresses = append(addresses, net.JoinHostPort(a, port))
	}
	if len(addresses) == 0 {
		addresses = []string{p.Host.Address()}
	}
	s.At("waiting for " + p.Host.Address())
	ctx, cancel := context.WithTimeout(ctx, c.NetworkTimeout)
	defer cancel()
	return network.Wait(ctx, addresses...)
}

// rules are what must not be in the dump. What can't be read of them ends the save: a dump that holds what it must not is worse than none.
func rules(c *config.Config) (scrub.Rules, error) {
	var rules scrub.Rules
	if c.EraseConfig != "" {
		f, err := os.Open(c.EraseConfig)
		if err != nil {
			return rules, err
		}
		defer f.Close()
		if rules, err = scrub.ParseConfig(f); err != nil {
			return rules, fmt.Errorf("%s: %w", c.EraseConfig, err)
		}
	}
	for _, text := range c.Redact {
		r, err := scrub.ParseRedact(text)
		if err != nil {
			return rules, err
		}
		rules.Redact = append(rules.Redact, r)
	}
	return rules, nil
}

// progressEvery is how often progress is shown while a step goes on. A serial console is slow.
const progressEvery = 5 * time.Second

// progress shows what a save is doing.
func (s *stage) progress() func(save.Progress) {
	var step string
	var last time.Time
	return func(p save.Progress) {
		now := time.Now()
		if p.Step == step && now.Sub(last) < progressEvery {
			return
		}
		text := p.Step
		if p.Total > 0 && p.Step == step {
			text += fmt.Sprintf(": %d %% (%d of %d)", p.Done*100/p.Total, p.Done, p.Total)
			if p.Out > 0 {
				text += fmt.Sprintf(", %d MiB written", p.Out/mib)
			}
		}
		step, last = p.Step, now
		s.line(text)
	}
}

// triageDump writes the first page of the case beside the dump.
func triageDump(ctx context.Context, s *stage) (any, error) {
	p, t, err := s.target()
	if err != nil {
		return nil, err
	}
	job := save.TriageJob{Place: place(p, t, s.order), Dir: s.order.Dir, Types: p.Types, Timeout: p.Config.TriageTimeout, Log: s.log}
	if p.Config.EraseConfig == "" && len(p.Config.Redact) == 0 {
		job.VMCore = save.ProcVMCore
	}
	if s.order.Unproven {
		job.Whole = s.proven
	}
	_, err = save.Triage(ctx, job)
	return nil, err
}

// proven waits until PID 1 says that the dump is whole, and that it is the one that this stage has looked at.
func (s *stage) proven() error {
	looked := s.order
	if err := s.await(); err != nil {
		return err
	}
	if s.order.Target != looked.Target || s.order.Dir != looked.Dir {
		return fmt.Errorf("it looked at %s, and the dump is %s", looked.Dir, s.order.Dir)
	}
	return nil
}

// maxKernelLog bounds what is kept of the capture kernel's own log.
const maxKernelLog = 256 << 10

// logName is the log's name beside the dump.
const logName = "kdx.log"

// saveLog puts kdx's log and the capture kernel's beside the dump, and both and the stages into the manifest.
func saveLog(ctx context.Context, s *stage) (any, error) {
	p, t, err := s.target()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(LogPath)
	if err != nil {
		text = fmt.Appendf(text, "kdx's log is missing: %v\n", err)
	}
	text = append(text, "\n== the capture kernel's own log\n"...)
	kernel, err := kernelLog(maxKernelLog)
	text = append(text, kernel...)
	if err != nil {
		text = fmt.Appendf(text, "no more could be read: %v\n", err)
	}
	tg, err := target.Open(ctx, place(p, t, s.order), s.log)
	if err != nil {
		return nil, err
	}
	defer tg.Close()
	dir, err := tg.Open(ctx, s.order.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Put(ctx, logName, text); err != nil {
		return nil, err
	}
	return nil, listLog(ctx, dir, text, s.order.Stages)
}

// listLog puts the log and the stages into the manifest, if there is one.
func listLog(ctx context.Context, dir target.Dir, text []byte, ran []Stage) error {
	b, err := dir.Read(ctx, manifest.Name, manifest.MaxSize)
	if err != nil {
		return fmt.Errorf("the log is saved but not listed: %w", err)
	}
	m, err := manifest.Parse(b)
	if err != nil {
		return fmt.Errorf("the log is saved but not listed: %w", err)
	}
	sum := sha256.Sum256(text)
	m.Put(manifest.File{Name: logName, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])})
	for _, st := range ran {
		m.Stages = append(m.Stages, manifest.Stage{Name: "init: " + st.Name + ": " + st.Ended, Took: st.Took, Anonymous: int64(st.Anonymous)})
	}
	if b, err = m.Encode(); err != nil {
		return err
	}
	return dir.Put(ctx, manifest.Name, b)
}
