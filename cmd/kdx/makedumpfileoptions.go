package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/exclude"
)

// fate is what became of an option of makedumpfile.
type fate string

const (
	asThere fate = "same"
	better  fate = "better"
	idle    fate = "no effect" // taken, and needed for nothing
	gone    fate = "gone"
)

// makedumpfileOption is one row of the table of makedumpfile's options, from which help and docs/makedumpfile.md are made.
type makedumpfileOption struct {
	short byte
	long  string
	arg   string // placeholder of its argument; "" if it takes none
	help  string
	fate  fate
	why   string // what differs, or why it is gone
	apply func(m *makedumpfileLine, value string) error
}

func (o *makedumpfileOption) names() string {
	var out []string
	if o.short != 0 {
		out = append(out, "-"+string(o.short))
	}
	if o.long != "" {
		out = append(out, "--"+o.long)
	}
	s := strings.Join(out, ", ")
	if o.arg != "" {
		s += " " + o.arg
	}
	return s
}

// makedumpfileLine is makedumpfile's command line taken apart.
type makedumpfileLine struct {
	args                                    []string // all of them
	files                                   []string
	codec                                   string
	compress, elf, flatten, rearrange       bool
	levels                                  []int
	force, debug, vmemmap, help, version    bool
	split, reassemble, dmesg, partial       bool
	memUsage, dryRun, check                 bool
	vmlinux, vmcoreinfo, generate, config   string
	workDir, xenSyms, xenInfo, xenPhysStart string
	xen                                     bool
	vtop                                    *uint64
	limit                                   int64
	threads                                 int
	disks                                   []string
	messages                                messageLevel
}

// messageLevel says what is printed.
type messageLevel int

const (
	msgProgress messageLevel = 1 << iota
	msgCommon
	msgError
	msgDebug
	msgReport

	msgDefault = msgProgress | msgCommon | msgError
	msgAll     = msgDefault | msgDebug | msgReport
)

func toggle(f func(*makedumpfileLine)) func(*makedumpfileLine, string) error {
	return func(m *makedumpfileLine, _ string) error { f(m); return nil }
}

func compressWith(c string) func(*makedumpfileLine, string) error {
	return func(m *makedumpfileLine, _ string) error {
		if m.compress && m.codec != c {
			return errors.New("only one of -c, -l, -p and -z can be had")
		}
		m.compress, m.codec = true, c
		return nil
	}
}

func text(to func(*makedumpfileLine) *string) func(*makedumpfileLine, string) error {
	return func(m *makedumpfileLine, v string) error { *to(m) = v; return nil }
}

func ignored(*makedumpfileLine, string) error { return nil }

func refused(why string) func(*makedumpfileLine, string) error {
	return func(*makedumpfileLine, string) error { return errors.New(why) }
}

const noXen = "memory of Xen's hypervisor is not looked into; a dump of one guest (xl dump-core) is read as it is"

var makedumpfileOptions = []makedumpfileOption{
	{'c', "", "", "compress pages with zlib", better, "on all cores, several times faster; the dump is some percent larger than with C zlib", compressWith("zlib")},
	{'l', "", "", "compress pages with lzo", better, "on all cores", compressWith("lzo")},
	{'p', "", "", "compress pages with snappy", better, "always there: it is no matter of how kdx was built", compressWith("snappy")},
	{'z', "", "", "compress pages with zstd", better, "always there, and on all cores", compressWith("zstd")},
	{'E', "", "", "write an ELF core", better, "pages of zeros and pages that were left out are told apart; shorter runs are left out", toggle(func(m *makedumpfileLine) { m.elf = true })},
	{'d', "", "LEVEL[,LEVEL…]", "leave out pages: the sum of 1 zeros, 2 cache, 4 cache with private data, 8 user data, 16 free; further levels are for when there is no space", better,
		"what the kernel needs by place stays, whatever its flags say; on kernels that kdx does not understand more is kept, and said", (*makedumpfileLine).setLevels},
	{'F', "", "", "write the flattened form to stdout", asThere, "messages go to stderr, as there", toggle(func(m *makedumpfileLine) { m.flatten = true })},
	{'R', "", "", "put a flattened dump from stdin in order", better, "input that ends too early is an error at once, not after ten minutes", toggle(func(m *makedumpfileLine) { m.rearrange = true })},
	{'x', "", "VMLINUX", "the kernel's file with debug information", better, "hardly ever needed: types and symbols are in the dump", text(func(m *makedumpfileLine) *string { return &m.vmlinux })},
	{'i', "", "VMCOREINFO", "what the kernel says of itself, if the dump does not", asThere, "", text(func(m *makedumpfileLine) *string { return &m.vmcoreinfo })},
	{'g', "", "VMCOREINFO", "write such a file, of -x VMLINUX", better, "BTF serves, debug information is not needed", text(func(m *makedumpfileLine) *string { return &m.generate })},
	{'e', "", "", "leave out descriptors of pages that are left out", better, "needs no scratch files; refused without --work-dir all the same, as there", toggle(func(m *makedumpfileLine) { m.vmemmap = true })},
	{'L', "", "SIZE", "write no more than SIZE bytes (K, M, G)", asThere, "", (*makedumpfileLine).setLimit},
	{'f', "", "", "replace the output", better, "the old file stays until the new one is whole", toggle(func(m *makedumpfileLine) { m.force = true })},
	{'D', "", "", "say what is tried", better, "kdx's own messages, not makedumpfile's", toggle(func(m *makedumpfileLine) { m.debug = true; m.messages |= msgDebug })},
	{'b', "", "ORDER", "pages to collect before writing, as a power of two", idle, "kdx writes a megabyte at a time", ignored},
	{'X', "", "", "leave out pages of Xen's guests", gone, noXen, toggle(func(m *makedumpfileLine) { m.xen = true })},
	{'h', "help", "", "this page", better, "", toggle(func(m *makedumpfileLine) { m.help = true })},
	{'v', "", "", "the version, and which compressions there are", better, "says that it is kdx", toggle(func(m *makedumpfileLine) { m.version = true })},
	{0, "split", "", "write several files, each a part", asThere, "", toggle(func(m *makedumpfileLine) { m.split = true })},
	{0, "reassemble", "", "make one dump of such parts", better, "pages are not decoded on the way; a part that is missing is said", toggle(func(m *makedumpfileLine) { m.reassemble = true })},
	{0, "num-threads", "N", "compress on N cores", better, "makes it faster; without it all cores are used. Refused with -E and --split, as there", func(m *makedumpfileLine, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("--num-threads: %q is no number", v)
		}
		m.threads = max(0, n)
		return nil
	}},
	{0, "splitblock-size", "KB", "make parts differ by no more", idle, "parts differ by a page", ignored},
	{0, "cyclic-buffer", "KB", "memory for a bit a page", idle, "32 MiB serve for a TiB; kdx convert --memory bounds it", ignored},
	{0, "work-dir", "DIR", "where temporary bitmaps go", idle, "there are none", text(func(m *makedumpfileLine) *string { return &m.workDir })},
	{0, "non-mmap", "", "never map the input", idle, "kdx never does", ignored},
	{0, "dump-dmesg", "", "write the kernel's log, not a dump", better, "also from dumps without VMCOREINFO, and filtered ones", toggle(func(m *makedumpfileLine) { m.dmesg = true })},
	{0, "partial-dmesg", "", "with --dump-dmesg, only what was logged since dmesg --clear", asThere, "", toggle(func(m *makedumpfileLine) { m.partial = true })},
	{0, "mem-usage", "", "show how many pages each level would leave out, of /proc/kcore", better, "of any dump, too, and on kernels of any version", toggle(func(m *makedumpfileLine) { m.memUsage = true })},
	{0, "show-stats", "", "show what was left out", better, "memory that two segments hold counts once", toggle(func(m *makedumpfileLine) { m.messages |= msgReport })},
	{0, "dry-run", "", "do all but writing", asThere, "", toggle(func(m *makedumpfileLine) { m.dryRun = true })},
	{0, "check-params", "", "only look whether the command line is right", asThere, "", toggle(func(m *makedumpfileLine) { m.check = true })},
	{0, "message-level", "N", "print the sum of 1 progress, 2 messages, 4 errors, 8 debugging, 16 statistics (default 7)", asThere, "", (*makedumpfileLine).setMessages},
	{0, "vtop", "ADDRESS", "show where a virtual address lies, too", asThere, "", func(m *makedumpfileLine, v string) error {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			if n, err = strconv.ParseUint(v, 16, 64); err != nil {
				return fmt.Errorf("--vtop: %q is no address", v)
			}
		}
		m.vtop = &n
		return nil
	}},
	{0, "config", "FILE", "take out what this erase configuration says", better, "-x is not needed; a configuration that is wrong or does not fit the kernel is an error, and nothing is written", text(func(m *makedumpfileLine) *string { return &m.config })},
	{0, "diskset", "FILE", "a file of a SADUMP disk set; give each", asThere, "", func(m *makedumpfileLine, v string) error { m.disks = append(m.disks, v); return nil }},
	{0, "eppic", "FILE", "take out what a macro in eppic finds", gone, "kdx has no such language; --config, and kdx convert --redact, take out by symbol, member, cache, process or expression",
		refused("kdx runs no eppic macros: see --config, and kdx convert --redact")},
	{0, "extension", "FILE", "load a filter of one's own", gone, "kdx loads no code", refused("kdx loads no extensions: see kdx convert --redact")},
	{0, "xen-syms", "FILE", "the hypervisor's symbols", gone, noXen, text(func(m *makedumpfileLine) *string { return &m.xenSyms })},
	{0, "xen-vmcoreinfo", "FILE", "what the hypervisor says of itself", gone, noXen, text(func(m *makedumpfileLine) *string { return &m.xenInfo })},
	{0, "xen_phys_start", "ADDRESS", "where the hypervisor lies", gone, noXen, text(func(m *makedumpfileLine) *string { return &m.xenPhysStart })},
}

// levelError is makedumpfile's own sentence on a number.
type levelError struct{ what, value string }

func (e *levelError) Error() string { return fmt.Sprintf("%s(%s) is invalid.", e.what, e.value) }

func (m *makedumpfileLine) setLevels(v string) error {
	m.levels = nil
	for word := range strings.SplitSeq(v, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > exclude.MaxLevel {
			return &levelError{"Dump_level", word}
		}
		m.levels = append(m.levels, n)
	}
	return nil
}

func (m *makedumpfileLine) setLimit(v string) error {
	digits, shift := v, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if cut, ok := strings.CutSuffix(strings.ToUpper(v), unit); ok {
			digits, shift = cut, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return &levelError{"Limit size", v}
	}
	m.limit = n << shift
	return nil
}

func (m *makedumpfileLine) setMessages(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || messageLevel(n) > msgAll {
		return &levelError{"Message_level", v}
	}
	m.messages = messageLevel(n)
	return nil
}

// getoptError is what getopt_long says of an option; it names the program.
type getoptError struct{ text string }

func (e *getoptError) Error() string { return "makedumpfile: " + e.text }

// parse takes the command line apart, as getopt_long does: options and files in any order, long options shortened as far
// as they stay unique, letters in one word.
func (m *makedumpfileLine) parse(args []string) error {
	m.args, m.messages, m.codec = args, msgDefault, "raw"
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			m.files = append(m.files, args...)
			return nil
		case len(a) < 2 || a[0] != '-':
			m.files = append(m.files, a)
			continue
		}
		var err error
		if strings.HasPrefix(a, "--") {
			args, err = m.long(a[2:], args)
		} else {
			args, err = m.letters(a[1:], args)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// long takes one long option.
func (m *makedumpfileLine) long(word string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(word, "=")
	var found *makedumpfileOption
	for i := range makedumpfileOptions {
		o := &makedumpfileOptions[i]
		if o.long == "" || !strings.HasPrefix(o.long, name) {
			continue
		}
		if o.long == name {
			found = o
			break
		}
		if found != nil {
			return nil, &getoptError{fmt.Sprintf("option '--%s' is ambiguous", name)}
		}
		found = o
	}
	switch {
	case found == nil:
		return nil, &getoptError{fmt.Sprintf("unrecognized option '--%s'", name)}
	case found.arg == "" && hasValue:
		return nil, &getoptError{fmt.Sprintf("option '--%s' doesn't allow an argument", found.long)}
	case found.arg != "" && !hasValue && len(rest) == 0:
		return nil, &getoptError{fmt.Sprintf("option '--%s' requires an argument", found.long)}
	case found.arg != "" && !hasValue:
		value, rest = rest[0], rest[1:]
	}
	return rest, found.apply(m, value)
}

// letters takes a word of short options.
func (m *makedumpfileLine) letters(word string, rest []string) ([]string, error) {
	for i := 0; i < len(word); i++ {
		var found *makedumpfileOption
		for j := range makedumpfileOptions {
			if makedumpfileOptions[j].short == word[i] && word[i] != 0 {
				found = &makedumpfileOptions[j]
			}
		}
		if found == nil {
			return nil, &getoptError{fmt.Sprintf("invalid option -- '%c'", word[i])}
		}
		if found.arg == "" {
			if err := found.apply(m, ""); err != nil {
				return nil, err
			}
			continue
		}
		value := word[i+1:]
		if value == "" {
			if len(rest) == 0 {
				return nil, &getoptError{fmt.Sprintf("option requires an argument -- '%c'", word[i])}
			}
			value, rest = rest[0], rest[1:]
		}
		return rest, found.apply(m, value)
	}
	return rest, nil
}

// conflict is why the options do not go together, or the files are too few or too many; nil if all is well.
func (m *makedumpfileLine) conflict() error {
	n := len(m.files)
	mode := m.generate != "" || m.reassemble || m.dmesg
	switch {
	case m.compress && m.elf:
		return errors.New("-E can't be compressed: an ELF core has no compressed pages")
	case m.vmlinux != "" && m.vmcoreinfo != "":
		return errors.New("-x and -i can't be given both")
	case m.xenSyms != "" && m.xenInfo != "":
		return errors.New("--xen-syms and --xen-vmcoreinfo can't be given both")
	case m.split && (m.flatten || m.elf):
		return errors.New("only a kdump-compressed dump can be split, and only into files")
	case m.threads > 0 && m.split:
		return &saidError{"--num-threads cannot used with --split."}
	case m.threads > 0 && m.elf:
		return &saidError{"--num-threads cannot used with ELF format."}
	case m.vmemmap && m.workDir == "":
		return &saidError{"-e requires --work-dir"}
	case m.partial && !m.dmesg:
		return errors.New("--partial-dmesg is for --dump-dmesg")
	case m.dryRun && m.generate != "":
		return &saidError{"--dry-run cannot be used with -g."}
	case m.dryRun && m.reassemble:
		return &saidError{"--dry-run cannot be used with --reassemble."}
	case m.dryRun && m.dmesg:
		return &saidError{"--dry-run cannot be used with --dump-dmesg."}
	case m.generate != "" && (n != 0 || m.vmlinux == "" && m.xenSyms == ""):
		return errors.New("-g wants -x VMLINUX, and no dump")
	case m.generate != "":
		return nil
	case m.rearrange && (n != 1 || m.compress || m.elf || m.split || m.flatten || m.levels != nil || mode):
		return errors.New("-R wants one file to write, and nothing else")
	case m.reassemble && (n < 2 || m.split || m.flatten || m.elf):
		return errors.New("--reassemble wants two parts or more, and the file to write")
	case m.reassemble && n < 3:
		return errors.New("--reassemble wants two parts or more, and the file to write")
	case m.memUsage && n != 1:
		return errors.New("--mem-usage wants one file to look at, /proc/kcore mostly")
	case m.rearrange || m.reassemble || m.memUsage:
		return nil
	}
	return m.filesToWrite(n)
}

func (m *makedumpfileLine) filesToWrite(n int) error {
	inputs := 1
	if len(m.disks) > 0 {
		inputs = 0
	}
	switch {
	case m.split && n < inputs+2:
		return errors.New("--split wants a dump, and two files to write or more")
	case m.split:
		return nil
	case m.flatten && n != inputs:
		return errors.New("-F wants a dump, and writes to stdout")
	case !m.flatten && n != inputs+1:
		return errors.New("wanted: a dump, and the file to write")
	}
	return nil
}

// saidError is a sentence of makedumpfile's own.
type saidError struct{ text string }

func (e *saidError) Error() string { return e.text }
