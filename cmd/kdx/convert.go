package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kdx/analyze/exclude"
	"kdx/analyze/proof"
	"kdx/analyze/reduce"
	"kdx/dumpfmt/convert"
	"kdx/repl"
)

// convertFlags are those of kdx convert, as they were given.
type convertFlags struct {
	conversion
	to, codec, progress   string
	split                 int
	memory, limit         number
	dryRun, memUsage      bool
	vmlinuxFlag, lkcdName string
}

func convertCommand(std stdio) *cobra.Command { return new(convertFlags).command(std) }

func (f *convertFlags) command(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "convert [VMLINUX] IN… OUT",
		Short: "a dump in another format, smaller, or without what must not leave the house",
		Long: "Writes a dump anew: every page that it holds, or with --level only those that the kernel needs. Several IN are the parts of one split dump; OUT may be - " +
			"(stdout) or a pipe, which take the flattened form. IN may be /proc/vmcore. What was written is read back and checked against the kernel before kdx says that " +
			"all is well; see docs/convert.md.\n\nFormats (--to):\n" + targetHelp(),
		Example: "  kdx convert --level 31 vmcore small\n  kdx convert --to elf vmcore vmcore.elf\n  kdx convert --level 31 /proc/vmcore - | ssh host 'cat > vmcore.flat'\n" +
			"  kdx convert --mem-usage vmcore\n  kdx convert --level 31 --dry-run vmcore",
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), args, std) },
	}
	p := c.Flags()
	p.SortFlags = false
	p.StringVar(&f.to, "to", "kdump", "the `FORMAT` of OUT; its name does not matter")
	p.StringVar(&f.codec, "codec", "", "compress pages with zstd, zlib, lzo, snappy or raw (lkcd: zlib, rle, raw); a level may follow, as `zstd:3` (default zstd; lkcd: zlib)")
	p.IntVarP(&f.job.Level, "level", "d", 0, "leave out pages: the sum of 1 zeros, 2 cache, 4 cache with private data, 8 user data, 16 free")
	p.BoolVar(&f.job.Vmemmap, "exclude-vmemmap", false, "leave out the descriptors of pages that are left out")
	p.StringArrayVar(&f.rules.redact, "redact", nil, "take out by `RULE`: symbol:NAME, member:STRUCT.MEMBER, cache:NAME, process:NAME, regex:EXPRESSION, compressed-swap, freed; see docs/scrubbing.md")
	p.StringVar(&f.rules.config, "erase-config", "", "take out what makedumpfile's erase configuration in `FILE` says")
	p.StringVarP(&f.vmlinuxFlag, "vmlinux", "x", "", "the kernel's `FILE` with symbols or debug information, if the dump lacks them")
	p.IntVar(&f.split, "split", 0, "write `N` files, OUT.1, OUT.2, …")
	p.Var(&f.limit, "limit", "write no more than `SIZE` bytes (k, m, g) a file; what there was no room for is marked as missing")
	p.StringVar(&f.lkcdName, "lkcd-version", "", "write LKCD of this version, `8` or 9 (default 9)")
	p.IntVarP(&f.job.Workers, "jobs", "j", 0, "read and compress on `N` cores (default all)")
	p.Var(&f.memory, "memory", "take no more than `SIZE` in all, as far as that goes (default 64m)")
	p.BoolVar(&f.job.NoCheck, "no-check", false, "do not check what was written")
	p.BoolVar(&f.dryRun, "dry-run", false, "do all but writing, and show how large OUT would be")
	p.BoolVar(&f.memUsage, "mem-usage", false, "show how many pages each level would leave out of IN…, and write nothing")
	p.StringVar(&f.progress, "progress", "auto", "`auto` shows a line on a terminal, json writes lines of JSON to stderr, none nothing")
	p.BoolVarP(&f.force, "force", "f", false, "replace OUT; also take a vmlinux of another build")
	p.BoolVar(&f.json, "json", false, "report in JSON on stdout (on stderr, if OUT is stdout)")
	p.BoolVar(&f.debug, "debug", false, "say on stderr what is tried")
	f.where.register(p)
	f.headerless.register(p)
	c.SetContext(context.Background())
	return c
}

func targetHelp() string {
	names, what := reduce.Targets()
	var b strings.Builder
	for i := range names {
		fmt.Fprintf(&b, "    %-8s %s\n", names[i], what[i])
	}
	fmt.Fprintf(&b, "    %-8s %s\n", flatForm, "kdump in makedumpfile's flattened form, also in a file; flat:elf is that of an ELF core")
	return strings.TrimRight(b.String(), "\n")
}

// flatForm is the name of the flattened form.
const flatForm = "flat"

// plan turns the flags into a conversion.
func (f *convertFlags) plan(args []string) error {
	if err := f.target(); err != nil {
		return err
	}
	if f.job.Level < 0 || f.job.Level > exclude.MaxLevel {
		return fmt.Errorf("--level %d: levels go from 0 to %d", f.job.Level, exclude.MaxLevel)
	}
	if f.job.Workers < 0 || f.split < 0 || f.memory.n < 0 || f.limit.n < 0 {
		return errors.New("--jobs, --split, --memory and --limit want positive numbers")
	}
	f.job.Memory, f.conversion.limit = f.memory.n, f.limit.n
	f.replace = f.force
	switch f.progress {
	case "auto", "json", "none":
	default:
		return fmt.Errorf("--progress is auto, json or none, not %q", f.progress)
	}
	return f.sortArguments(args)
}

// target reads --to, --codec and --lkcd-version.
func (f *convertFlags) target() error {
	form := f.to
	if rest, ok := strings.CutPrefix(f.to, flatForm); ok && (rest == "" || rest[0] == ':') {
		f.flatten = true
		if form = strings.TrimPrefix(rest, ":"); form == "" {
			form = "kdump"
		}
	}
	var err error
	if f.job.Target, err = reduce.ParseTarget(form); err != nil {
		return fmt.Errorf("--to: %w; also %s", err, flatForm)
	}
	if f.flatten && !f.job.Target.Flattens() {
		return fmt.Errorf("--to %s: there is no flattened %s", f.to, form)
	}
	if f.split > 1 && (f.flatten || !f.job.Target.Splits()) {
		return fmt.Errorf("--split: only kdump can be split, not %s", f.to)
	}
	f.job.Codec = f.job.Target.Codec()
	f.job.AsIs = f.codec == ""
	if f.codec != "" {
		name, level, hasLevel := strings.Cut(f.codec, ":")
		if name == "gzip" {
			name = "zlib"
		}
		f.job.Codec = name
		if hasLevel {
			if f.job.CodecLevel, err = strconv.Atoi(level); err != nil || f.job.CodecLevel < 1 {
				return fmt.Errorf("--codec %s: %q is no level", f.codec, level)
			}
		}
		if err := f.job.Target.Takes(f.job.Codec); err != nil {
			return fmt.Errorf("--codec: %w", err)
		}
	}
	if f.lkcdName != "" {
		f.job.LKCDVersion, err = strconv.Atoi(f.lkcdName)
		if err != nil || form != "lkcd" {
			return fmt.Errorf("--lkcd-version %s: it is a number, and goes with --to lkcd", f.lkcdName)
		}
	}
	return nil
}

// sortArguments sorts the arguments into inputs, a vmlinux and the output.
func (f *convertFlags) sortArguments(args []string) error {
	if f.memUsage {
		if f.dryRun || f.split > 0 {
			return errors.New("--mem-usage writes nothing: --dry-run and --split are not for it")
		}
	} else if len(args) > 1 {
		out := args[len(args)-1]
		args = args[:len(args)-1]
		if !f.dryRun {
			f.outputs = []string{out}
		}
	} else if !f.dryRun {
		return errors.New("what becomes of the dump? (kdx convert IN OUT; --dry-run and --mem-usage need no OUT)")
	}
	if f.split > 1 && len(f.outputs) == 1 {
		out := f.outputs[0]
		if out == stdoutName {
			return errors.New("a split dump goes into files, not to stdout")
		}
		f.outputs = nil
		for i := range f.split {
			f.outputs = append(f.outputs, fmt.Sprintf("%s.%d", out, i+1))
		}
	}
	n, err := sortFiles(args)
	if err != nil {
		return err
	}
	f.inputs, f.vmlinux = n.dumps, f.vmlinuxFlag
	switch {
	case f.vmlinux == "":
		f.vmlinux = n.vmlinux
	case n.vmlinux != "":
		return fmt.Errorf("%s and %s are both a vmlinux; which one?", f.vmlinux, n.vmlinux)
	}
	return nil
}

func (f *convertFlags) run(ctx context.Context, args []string, std stdio) error {
	if err := f.plan(args); err != nil {
		return sortStatus(err)
	}
	if f.memUsage {
		// Nothing needs to be compressed in order to be counted.
		f.job.Level, f.job.Codec, f.job.AsIs, f.job.NoCheck = exclude.MaxLevel, "raw", true, true
		f.job.Target, _ = reduce.ParseTarget("kdump")
	}
	var progress func(reduce.Progress)
	m := newMeter(std.err, f.progress == "json")
	if f.progress == "json" || f.progress == "auto" && std.terminal.Err {
		progress = m.report
	}
	o, err := f.conversion.run(ctx, std, progress)
	m.end()
	var st *statusError
	switch {
	case errors.As(err, &st) && o.report.Stats == nil:
		return err // before there was anything to report
	case f.json:
		err = f.document(args, o, err, std)
	case st == nil || st.status == repl.CheckFailed || o.incomplete:
		if werr := f.text(o, std); werr != nil {
			return werr
		}
	}
	if err != nil {
		return err
	}
	return exitWith(doneStatus(&o.report))
}

// doneStatus is the exit code of a conversion that came to its end.
func doneStatus(r *reduce.Report) repl.Status {
	switch {
	case r.Copied.Missing > 0:
		return repl.Damaged
	case r.Kept():
		return repl.KeptMore
	}
	return repl.OK
}

// text reports to a person: tables to stdout, what was done to stderr.
func (f *convertFlags) text(o outcome, std stdio) error {
	r := &o.report
	say := func(format string, args ...any) { fmt.Fprintf(std.err, "kdx: "+format+"\n", args...) }
	for _, line := range reportLines(r) {
		say("%s", line)
	}
	switch {
	case f.memUsage:
		return writeStatus(classTable(std.out, r, o.pageSize))
	case f.dryRun:
		if err := writeStatus(classTable(std.out, r, o.pageSize)); err != nil {
			return err
		}
		_, err := fmt.Fprintf(std.out, "%-26s %10s %12s\n", "the output would have", "", bytesText(r.Bytes))
		return writeStatus(err)
	}
	if o.incomplete {
		return nil // the error says it
	}
	form := r.Format
	switch {
	case f.job.Target.Codec() == "":
	case f.job.AsIs && r.Copied.Passed > 0:
		form += " (compressed as before)"
	default:
		form += " (" + f.job.Codec + ")"
	}
	if o.streamed && f.job.Target.Flattens() {
		form = "flattened " + form + ", which kdx reads as it is and makedumpfile -R puts in order"
	}
	say("%s: %s, level %d: %d of %d pages, %s in %.1f s", strings.Join(f.outputs, ", "), form, r.Recorded, r.Copied.Pages, r.Stats.RAM(), bytesText(r.Bytes), o.took.Seconds())
	if line := checkLine(r); !f.job.NoCheck {
		say("%s", line)
	}
	return nil
}

// checkLine says what was checked.
func checkLine(r *reduce.Report) string {
	switch {
	case r.Check == nil:
		return "self-check: none: " + r.NoCheck
	case r.NoCheck != "":
		return r.Check.Summary() + "; " + r.NoCheck
	}
	return r.Check.Summary()
}

// reportLines are what a person must know of a conversion, beside its size.
func reportLines(r *reduce.Report) []string {
	var out []string
	const shown = 5
	for i, g := range r.Gaps {
		if i == shown {
			out = append(out, fmt.Sprintf("warning: and %d more", len(r.Gaps)-shown))
			break
		}
		out = append(out, "warning: more was kept than was asked: "+g.String())
	}
	if r.Unsure > 0 {
		out = append(out, fmt.Sprintf("warning: the input does not say of %d pages whether they were zeros or left out: they are left out", r.Unsure))
	}
	if n := r.Copied.Missing; n > 0 {
		out = append(out, fmt.Sprintf("warning: the input is damaged: %d pages can't be read, and are marked as missing in the output", n))
		for _, err := range r.Copied.Errors {
			out = append(out, "  "+err.Error())
		}
	}
	for _, d := range r.Scrubbed {
		s := fmt.Sprintf("taken out: %s: %d objects, %d bytes", d.Rule, d.Objects, d.Bytes)
		if d.Pages > 0 {
			s += fmt.Sprintf(", %d whole pages", d.Pages)
		}
		out = append(out, s)
		for _, n := range d.Notes {
			out = append(out, "  "+n)
		}
	}
	return out
}

// converted is the JSON of kdx convert.
type converted struct {
	Outputs    []string       `json:"outputs"`
	Format     string         `json:"format"`
	Flattened  bool           `json:"flattened"`
	Codec      string         `json:"codec"`
	Level      int            `json:"level"`
	DumpLevel  int            `json:"dump_level"`
	DryRun     bool           `json:"dry_run"`
	Complete   bool           `json:"complete"`
	PageSize   uint64         `json:"page_size"`
	Bytes      int64          `json:"bytes"`
	RAM        uint64         `json:"ram_pages"`
	Copied     convert.Report `json:"pages"`
	Unsure     uint64         `json:"zero_or_excluded_pages"`
	Classes    []classRow     `json:"classes"`
	Erased     []erased       `json:"erased"`
	Kept       []string       `json:"kept_more"`
	Check      *proof.Report  `json:"check"`
	NoCheck    string         `json:"no_check,omitempty"`
	Steps      []reduce.Step  `json:"steps"`
	DurationNS int64          `json:"duration_ns"`
}

// erased is what a rule came to.
type erased struct {
	Rule    string   `json:"rule"`
	Objects uint64   `json:"objects"`
	Bytes   uint64   `json:"bytes"`
	Pages   uint64   `json:"pages"`
	Notes   []string `json:"notes"`
}

func (f *convertFlags) document(args []string, o outcome, failed error, std stdio) error {
	r := &o.report
	res := converted{Outputs: f.outputs, Format: r.Format, Flattened: o.streamed && f.job.Target.Flattens(), Codec: f.job.Codec, Level: r.Level, DumpLevel: r.Recorded,
		DryRun: f.dryRun || f.memUsage, Complete: failed == nil && !o.incomplete, PageSize: o.pageSize, Bytes: r.Bytes, RAM: r.Stats.RAM(), Copied: r.Copied, Unsure: r.Unsure,
		Classes: classRows(r), Erased: []erased{}, Kept: []string{}, Check: r.Check, NoCheck: r.NoCheck, Steps: r.Steps, DurationNS: int64(o.took)}
	if res.Outputs == nil {
		res.Outputs = []string{}
	}
	for _, d := range r.Scrubbed {
		res.Erased = append(res.Erased, erased{d.Rule, d.Objects, d.Bytes, d.Pages, append([]string{}, d.Notes...)})
	}
	for _, g := range r.Gaps {
		res.Kept = append(res.Kept, g.String())
	}
	doc := document{Kdx: repl.EnvelopeVersion, Command: "convert", Args: args, Result: res, Missing: []string{}}
	for _, err := range r.Copied.Errors {
		doc.Missing = append(doc.Missing, err.Error())
	}
	var st *statusError
	if errors.As(failed, &st) {
		text := st.Error()
		doc.Error = &text
		failed = exitWith(st.status) // it is said in the document
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	to := std.out
	if len(f.outputs) == 1 && f.outputs[0] == stdoutName {
		to = std.err
	}
	if _, err := fmt.Fprintf(to, "%s\n", b); err != nil && failed == nil {
		return writeStatus(err)
	}
	return failed
}
