package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kdx/analyze/reduce"
	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/reserve"
	"kdx/capture/save"
	"kdx/capture/target"
	"kdx/repl"
)

// saveFlags are those of kdx capture save.
type saveFlags struct {
	json, progress, overwrite, noTriage bool
	config, vmcore, types               string
	host, boot                          string
	targets                             []string
	level                               int
	codec, keepFree                     string
	memory                              string
	keep                                int
	rules                               scrubFiles
}

// saved is the JSON of kdx capture save.
type saved struct {
	save.Result
	// Triage says why there is no triage beside the dump; "" if there is.
	Triage string `json:"no_triage"`
}

func captureSaveCommand(std stdio) *cobra.Command {
	var f saveFlags
	c := &cobra.Command{
		Use:   "save",
		Short: "save /proc/vmcore: what kdx does in the capture kernel, by hand",
		Long: "Saves the dump of the kernel that crashed, from within the capture kernel: kdx's own initrd does this by itself, and under a distribution's it can be run by hand. The kernel's log and the registers " +
			"come first, then the dump, filtered and compressed, to the first target that takes it. Whether there is room is looked at before a byte is written. The file is called vmcore.incomplete until it " +
			"was read back and held against what was written; manifest.json comes last, then a triage. See docs/capture-manifest.md.\n\n" +
			"Targets and all else come from the configuration; flags come before it. A target on a filesystem must be mounted. --vmcore FILE saves an ordinary dump in the same way, to try it.\n\n" +
			"Exit code 16 if there is no /proc/vmcore, or it is empty: this is no capture kernel, and nothing was touched. 9 if no target took a whole dump, and what fits was saved; 1 if nothing was.",
		Example: "  kdx capture save --target /mnt/dumps\n  kdx capture save --target sftp://dumps@vault.example.com/srv/dumps --target raw:/dev/vdb2\n  kdx capture save --vmcore ./vmcore --target /tmp/dumps --json | jq .result.manifest",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return captureSave(std, f, func(name string) bool { return c.Flags().Changed(name) })
		},
	}
	p := c.Flags()
	p.BoolVar(&f.json, "json", false, "answer in JSON")
	p.BoolVar(&f.progress, "progress", false, "show how far it is (default if stderr is a terminal)")
	p.StringVar(&f.config, "config", "", "take the configuration from `FILE` (default "+config.Path+", or the distribution's)")
	p.StringVar(&f.vmcore, "vmcore", save.ProcVMCore, "save `FILE`")
	p.StringArrayVar(&f.targets, "target", nil, "save to `TARGET`, as in the configuration; several are tried in order")
	p.BoolVar(&f.overwrite, "overwrite", false, "a raw partition may lose what is on it, whatever that is")
	p.StringVar(&f.host, "host", "", "`NAME` of the host that crashed (default this one's)")
	p.StringVar(&f.boot, "boot-id", "", "`ID` of the boot that crashed")
	p.IntVarP(&f.level, "level", "d", 31, "leave out pages, as kdx convert --level does")
	p.StringVar(&f.codec, "codec", "zstd", "compress pages with `CODEC`, and its level: zstd, zlib, lzo, snappy, raw")
	p.StringVar(&f.types, "types", "", "types of the kernel that crashed, as kdx capture initrd build took them along, in `FILE`")
	p.StringArrayVar(&f.rules.redact, "redact", nil, "take out what `RULE` finds; see docs/scrubbing.md")
	p.StringVar(&f.rules.config, "erase-config", "", "take out what makedumpfile's erase configuration in `FILE` says")
	p.IntVar(&f.keep, "keep", 0, "leave so `MANY` whole dumps on the target; 0 leaves all")
	p.StringVar(&f.keepFree, "keep-free", "64M", "leave so much `ROOM` on the target's filesystem")
	p.StringVar(&f.memory, "memory", "", "keep buffers within `SIZE` (default 4M)")
	p.BoolVar(&f.noTriage, "no-triage", false, "save no triage beside the dump")
	return c
}

// captureConfiguration is the configuration that is in force, if there is one that can be used.
func captureConfiguration(file string) (*config.Config, error) {
	l, err := config.Load("", file)
	if err != nil {
		return nil, configStatus(err)
	}
	if len(l.Problems) > 0 {
		return nil, &statusError{repl.NotUsable, l.Problems[0]}
	}
	return l.Config, nil
}

func captureSave(std stdio, f saveFlags, given func(string) bool) error {
	if err := save.CheckVMCore(f.vmcore); err != nil {
		return saveStatus(err, save.Result{})
	}
	cfg, err := captureConfiguration(f.config)
	if err != nil {
		return err
	}
	if err := f.into(cfg, given); err != nil {
		return err
	}
	rules, err := (scrubFiles{config: cfg.EraseConfig, redact: cfg.Redact}).read()
	if err != nil {
		return &statusError{repl.NotUsable, err}
	}
	ctx, stop := catchSignals(context.Background())
	defer stop()
	m := newMeter(std.err, false)
	log := slog.New(&meterLog{w: std.err, m: m})
	job := save.Job{VMCore: f.vmcore, Host: cmp.Or(f.host, hostName()), BootID: f.boot, Time: time.Now(), Level: cfg.Level, Codec: cfg.Codec, CodecLevel: cfg.CodecLevel,
		Rules: rules, Types: f.types, Timeout: cfg.SaveTimeout, Keep: cfg.Keep, Version: version(), Log: log}
	if f.memory != "" {
		n, ok := reserve.ParseSize(f.memory)
		if !ok || n < 1<<20 {
			return usagef("--memory wants a size such as 8M, not %q", f.memory)
		}
		job.Memory = int64(n)
	}
	for _, t := range cfg.Targets {
		p, err := placeHere(t, cfg)
		if err != nil {
			log.Error(err.Error())
			continue
		}
		p.Overwrite = f.overwrite
		job.Places = append(job.Places, p)
	}
	if len(job.Places) == 0 {
		return &statusError{repl.Failed, errors.New("there is no target to save to: --target /DIRECTORY names one")}
	}
	if f.progress || std.terminal.Err && !given("progress") {
		job.Progress = func(p save.Progress) {
			m.report(reduce.Progress{Step: p.Step, Done: p.Done, Total: p.Total, Out: p.Out})
		}
	}
	debug.SetMemoryLimit(saveHeap + job.Memory)
	res, err := save.Run(ctx, job)
	m.end()
	out := saved{Result: res}
	if err == nil {
		out.Triage = makeTriage(ctx, f, cfg, job, res)
	}
	if aerr := answer(std.out, f.json, "capture save", []string{}, out, out.text); aerr != nil {
		return aerr
	}
	if err != nil && ctx.Err() != nil {
		return stopped(ctx, nil)
	}
	return saveStatus(err, res)
}

// saveHeap is what Go's runtime is told to keep to beside buffers, bytes.
const saveHeap = 12 << 20

func makeTriage(ctx context.Context, f saveFlags, cfg *config.Config, job save.Job, res save.Result) string {
	if f.noTriage {
		return "not asked for"
	}
	t := save.TriageJob{Place: job.Places[res.Place], Dir: res.Dir, Types: f.types, Timeout: cfg.TriageTimeout, Log: job.Log}
	if job.Rules.Empty() {
		t.VMCore = f.vmcore
	}
	if _, err := save.Triage(ctx, t); err != nil {
		return err.Error()
	}
	return ""
}

// into puts what was given on the command line in the configuration's place.
func (f *saveFlags) into(cfg *config.Config, given func(string) bool) error {
	if given("target") {
		cfg.Targets = nil
		for _, text := range f.targets {
			t, err := config.ParseTarget(text)
			if err != nil {
				return usagef("--target: %v", err)
			}
			cfg.Targets = append(cfg.Targets, t)
		}
	}
	text := ""
	for _, key := range []string{"level", "codec", "keep", "keep-free"} {
		if given(key) {
			text += key + " = " + f.text(key) + "\n"
		}
	}
	parsed := config.Parse("the command line", []byte(text))
	if len(parsed.Problems) > 0 {
		p := parsed.Problems[0]
		return usagef("%s; %s", p.What, p.Want)
	}
	if given("level") {
		cfg.Level = parsed.Config.Level
	}
	if given("codec") {
		cfg.Codec, cfg.CodecLevel = parsed.Config.Codec, parsed.Config.CodecLevel
	}
	if given("keep") {
		cfg.Keep = parsed.Config.Keep
	}
	if given("keep-free") {
		cfg.KeepFree = parsed.Config.KeepFree
	}
	if given("redact") {
		cfg.Redact = f.rules.redact
	}
	if given("erase-config") {
		cfg.EraseConfig = f.rules.config
	}
	return nil
}

// text is a flag as the configuration has it.
func (f *saveFlags) text(key string) string {
	switch key {
	case "level":
		return strconv.Itoa(f.level)
	case "codec":
		return f.codec
	case "keep":
		return strconv.Itoa(f.keep)
	}
	return f.keepFree
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "(none)" {
		return ""
	}
	return name
}

// saveStatus is the exit code.
func saveStatus(err error, res save.Result) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, save.ErrNoVMCore):
		return &statusError{repl.NothingToSave, err}
	case res.Manifest != nil && res.Manifest.Dump.Pages > 0:
		return &statusError{repl.Incomplete, err}
	}
	return &statusError{repl.Failed, err}
}

func (s *saved) text(w io.Writer) error {
	for _, t := range s.Tries {
		if t.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", t.Target, t.Error)
		}
	}
	if !s.Saved {
		if s.Path != "" {
			fmt.Fprintf(w, "what was saved before that lies in %s\n", s.Path)
		}
		return nil
	}
	m := s.Manifest
	fmt.Fprintf(w, "%s\n", s.Path)
	for _, f := range m.Files {
		fmt.Fprintf(w, "  %-14s %12d bytes  sha256 %s\n", f.Name, f.Size, f.SHA256)
	}
	fmt.Fprintf(w, "level %d, %d pages saved and %d left out; check: %s\n", m.Dump.Level, m.Dump.Pages, m.Dump.Excluded, m.Dump.Check)
	for _, n := range m.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if s.Triage != "" {
		fmt.Fprintf(w, "no triage: %s\n", s.Triage)
	}
	return nil
}

// meterLog writes messages as lines of their own, past the meter's line.
type meterLog struct {
	mu sync.Mutex
	w  io.Writer
	m  *meter
}

func (l *meterLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (l *meterLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *meterLog) WithGroup(string) slog.Handler                    { return l }

func (l *meterLog) Handle(_ context.Context, r slog.Record) error {
	l.m.end()
	var b strings.Builder
	fmt.Fprintf(&b, "kdx: %s", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, "; %s: %v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(l.w, b.String())
	return err
}

// placeHere is a target as the running system reaches it.
func placeHere(t config.Target, cfg *config.Config) (target.Place, error) {
	if t.Kind == config.Raw {
		name := estimate.DeviceName("", t.Device)
		switch {
		case name != "":
			return target.Of(t, cfg, "", "/dev/"+name), nil
		case strings.HasPrefix(t.Device, "/"):
			return target.Of(t, cfg, "", t.Device), nil
		}
		return target.Place{}, fmt.Errorf("%s: there is no such device", t)
	}
	one := *cfg
	one.Targets = []config.Target{t}
	places, skipped := collect.Places("", &one, nil)
	if len(places) == 0 {
		return target.Place{}, fmt.Errorf("%s: %s: mount it, and name the directory with --target", t, skipped[0].Why)
	}
	return places[0], nil
}
