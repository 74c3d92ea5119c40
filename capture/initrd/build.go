package initrd

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/analyze/resolved"
	"kdx/capture/config"
	"kdx/capture/kmod"
	"kdx/capture/network"
	"kdx/capture/plan"
	"kdx/capture/storage"
	"kdx/internal/atomicfile"
	"kdx/internal/elfnote"
	"kdx/internal/unpack"
)

// Spec is what is asked for. What is left out comes from the configuration. Paths are as they are on this machine, whatever Options.Root is.
type Spec struct {
	// ConfigFile is a configuration; "" is the host's.
	ConfigFile string `json:"config_file,omitempty"`
	// Kernel is the image of the capture kernel, ModulesDir the tree of its modules, Init the program kdx-init.
	Kernel     string `json:"kernel,omitempty"`
	ModulesDir string `json:"modules_dir,omitempty"`
	Init       string `json:"init,omitempty"`
	// Targets, Level and Codec take the place of the configuration's, in its words. Modules are added to its.
	Targets []string `json:"targets,omitempty"`
	Level   string   `json:"level,omitempty"`
	Codec   string   `json:"codec,omitempty"`
	Modules []string `json:"modules,omitempty"`
}

// Options are how to build.
type Options struct {
	// Root is where the host's files lie, "" for this host.
	Root string
	// Kdx is the version that builds.
	Kdx string
	// Output is the file to write; "" is the configuration's. Force writes it even if nothing changed.
	Output string
	Force  bool
	// Keep builds with what the initrd that is there was asked for on a command line, where Spec does not say otherwise: who builds again on a
	// host's behalf does not know what a person gave.
	Keep bool

	// These look at the host; nil for those of packages storage and network.
	device     func(root, name string) (*storage.Device, error)
	mountOf    func(root, dir string) (storage.Mount, error)
	discover   func(root, host string) ([]network.Link, error)
	fromConfig func(root string, n config.Network) (network.Link, error)
}

// Result is what was built.
type Result struct {
	Path    string `json:"path"`
	Release string `json:"release"`
	Kernel  string `json:"kernel"`
	// Built says that the file was written; Why, because of what. Otherwise it was as it would have become.
	Built bool   `json:"built"`
	Why   string `json:"why"`
	// Kept are the flags of an earlier build that took the configuration's place (Options.Keep).
	Kept []string `json:"kept"`
	// Packing is how it is compressed, Packed and Unpacked its sizes in bytes.
	Packing  unpack.Format  `json:"packing"`
	Packed   int64          `json:"packed"`
	Unpacked int64          `json:"unpacked"`
	Targets  []ChosenTarget `json:"targets"`
	Modules  []ChosenModule `json:"modules"`
	// Files is how many regular files it holds; InitSize is kdx-init's share.
	Files    int   `json:"files"`
	InitSize int64 `json:"init_size"`
	// Notes are what a person should know.
	Notes []string `json:"notes"`
}

// ChosenTarget is a target as it was understood.
type ChosenTarget struct {
	Target string `json:"target"`
	// On says what it stands on.
	On string `json:"on"`
}

// ChosenModule is a kernel module in the initrd.
type ChosenModule struct {
	Name     string `json:"name"`
	File     string `json:"file"`
	Size     int64  `json:"size"`     // bytes, as in the initrd
	Unpacked int64  `json:"unpacked"` // bytes
	Optional bool   `json:"optional"`
	For      string `json:"for"`
}

// builder gathers what goes into an initrd.
type builder struct {
	ctx     context.Context
	spec    Spec
	opt     Options
	host    *host
	config  *config.Config
	kernel  string
	release string
	// kernelCRC is that of the kernel's image.
	kernelCRC hash.Hash
	modules   *kmod.Index
	facts     kernelFacts
	files     fileset
	plan      plan.Plan
	result    Result
	needs     []need
	// old is the initrd that is there, or oldErr why none can be read.
	old    *Contents
	oldErr error
}

func (b *builder) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(b.result.Notes, n) {
		b.result.Notes = append(b.result.Notes, n)
	}
}

// ConfigError: the configuration, or what was given in its place, can't be used.
type ConfigError struct{ Problems []error }

func (e *ConfigError) Error() string { return errors.Join(e.Problems...).Error() }

// Build builds the capture initrd, unless the file is there and was made of the same.
func Build(ctx context.Context, spec Spec, opt Options) (*Result, error) {
	b, err := newBuilder(ctx, spec, opt)
	if err != nil {
		return nil, err
	}
	r := &b.result
	r.Path = opt.Output
	if r.Path == "" {
		r.Path = b.host.path(b.config.Initrd)
	}
	b.old, b.oldErr = Show(ctx, r.Path)
	if opt.Keep && b.oldErr == nil && b.old.Manifest != nil {
		if b, err = b.keeping(b.old.Manifest); err != nil {
			return nil, err
		}
		r = &b.result
	}
	m, err := b.gather()
	if err != nil {
		return nil, err
	}
	archive, err := b.files.archive()
	if err != nil {
		return nil, err
	}
	r.Unpacked, r.Packing = int64(len(archive)), m.Packing
	old, why := b.compare(m)
	if opt.Force && why == "" {
		why = "it was asked for"
	}
	if why == "" {
		r.Packed = old
		return r, nil
	}
	packed, err := pack(m.Packing, archive)
	if err != nil {
		return nil, fmt.Errorf("packing the capture initrd: %w", err)
	}
	if packed, err = b.seal(m, r.Unpacked, packed); err != nil {
		return nil, err
	}
	if err := write(r.Path, packed); err != nil {
		return nil, fmt.Errorf("writing the capture initrd: %w", err)
	}
	r.Built, r.Why, r.Packed = true, why, int64(len(packed))
	if st, err := os.Stat(r.Path); err == nil && st.Mode().Perm()&0o077 != 0 && b.files.has(keyPath) {
		b.note("%s has a private key in it, and others than root can read it: its filesystem has no modes of files; mount it with umask=0077", r.Path)
	}
	return r, nil
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, data, 0o600)
}

// compare says why the initrd that is there is not what m says, "" if it is, and its size.
func (b *builder) compare(m *Manifest) (size int64, why string) {
	switch {
	case errors.Is(b.oldErr, fs.ErrNotExist):
		return 0, "there was none"
	case b.oldErr != nil:
		return 0, "the one there can't be read: " + b.oldErr.Error()
	case b.old.Manifest == nil:
		return 0, "the one there is not kdx's"
	}
	if bad := b.old.damage(); len(bad) > 0 {
		return 0, "the one there is damaged: " + bad[0]
	}
	return b.old.Size, strings.Join(b.old.changes(m, &b.plan), "; ")
}

func newBuilder(ctx context.Context, spec Spec, opt Options) (*builder, error) {
	if opt.device == nil {
		opt.device, opt.mountOf, opt.discover, opt.fromConfig = storage.Discover, storage.MountOf, network.Discover, network.FromConfig
	}
	b := &builder{ctx: ctx, spec: spec, opt: opt, host: newHost(opt.Root), files: fileset{}}
	b.result.Notes, b.result.Kept, b.result.Modules, b.result.Targets = []string{}, []string{}, []ChosenModule{}, []ChosenTarget{}
	return b, b.readConfig()
}

// gather finds everything that belongs into the initrd.
func (b *builder) gather() (*Manifest, error) {
	for _, step := range []func() error{b.findKernel, b.skeleton, b.targets, b.drivings, b.secrets, b.hooks, b.types, b.writePlan} {
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.manifest()
}

// readConfig reads the configuration, and what is given in its place as if it stood there.
func (b *builder) readConfig() error {
	l, err := config.Load(b.host.root, b.spec.ConfigFile)
	if err != nil {
		return &ConfigError{[]error{err}}
	}
	problems := l.Problems
	for _, f := range l.Files {
		if err := b.host.note("configuration", f); err != nil {
			return err
		}
	}
	b.config = l.Config
	text := ""
	for _, t := range b.spec.Targets {
		text += "target = " + t + "\n"
	}
	for key, v := range map[string]string{"level": b.spec.Level, "codec": b.spec.Codec} {
		if v != "" {
			text += key + " = " + v + "\n"
		}
	}
	given := config.Parse("command line", []byte(text))
	problems = append(problems, given.Problems...)
	if len(problems) > 0 {
		e := &ConfigError{}
		for _, p := range problems {
			e.Problems = append(e.Problems, p)
		}
		return e
	}
	if len(b.spec.Targets) > 0 {
		b.config.Targets = given.Config.Targets
	}
	if b.spec.Level != "" {
		b.config.Level = given.Config.Level
	}
	if b.spec.Codec != "" {
		b.config.Codec, b.config.CodecLevel = given.Config.Codec, given.Config.CodecLevel
	}
	b.config.Modules = slices.Concat(b.config.Modules, b.spec.Modules)
	return nil
}

// findImage finds the capture kernel.
func (b *builder) findImage() error {
	var err error
	switch {
	case b.spec.Kernel != "":
		b.kernel = b.spec.Kernel
	case b.config.Kernel != "":
		b.kernel = b.host.path(b.config.Kernel)
	default:
		if b.kernel, err = RunningImage(b.host.root); err != nil {
			return err
		}
	}
	b.release, err = releaseOf(b.kernel)
	return err
}

// findKernel finds the capture kernel and its modules.
func (b *builder) findKernel() error {
	err := b.findImage()
	if err != nil {
		return err
	}
	b.kernelCRC = NewCRC()
	if err := b.host.note("kernel", b.kernel, b.kernelCRC); err != nil {
		return err
	}
	dir := b.spec.ModulesDir
	if dir == "" {
		if dir, err = kmod.TreeOf(b.host.root, b.release); err != nil {
			b.note("%v; this kernel can use only what is built in", err)
		}
	}
	b.modules = kmod.None(b.release)
	if dir != "" {
		if b.modules, err = kmod.Open(dir); err != nil {
			return err
		}
	}
	if !b.knownFacts() {
		if b.facts, err = factsOf(b.ctx, b.host.root, b.kernel, b.release, dir); err != nil {
			return fmt.Errorf("what kernel %s can unpack: %w", b.kernel, err)
		}
	}
	if b.facts.From == "" {
		b.note("what kernel %s can unpack is not known (no config-%s, and the image does not say): packed with gzip, which all distributions' kernels read", b.release, b.release)
	}
	b.result.Kernel, b.result.Release = b.kernel, b.release
	return nil
}

// knownFacts takes what the kernel itself said from when the old initrd was built: reading through it again is the dearest part of finding
// out that nothing changed.
func (b *builder) knownFacts() bool {
	if b.oldErr != nil || b.old.Manifest == nil || !slices.Contains(b.old.Manifest.Inputs, b.host.inputs[b.kernel]) {
		return false
	}
	m := b.old.Manifest
	if m.PackingBy != b.kernel && m.PackingBy != symbolsPath {
		return false
	}
	b.facts = kernelFacts{From: m.PackingBy, Unpacks: []unpack.Format{m.Packing}}
	return true
}

// initName is the program that becomes init, beside kdx.
const initName = "kdx-init"

func (b *builder) initProgram() (string, error) {
	if b.spec.Init != "" {
		return b.spec.Init, nil
	}
	var tried []string
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		dir := filepath.Dir(self)
		tried = append(tried, filepath.Join(dir, initName), filepath.Join(dir, "../lib/kdx", initName))
	}
	tried = append(tried, "/usr/lib/kdx/"+initName, "/usr/libexec/kdx/"+initName, "/usr/local/lib/kdx/"+initName)
	for _, t := range tried {
		if st, err := os.Stat(t); err == nil && st.Mode().IsRegular() {
			return t, nil
		}
	}
	return "", fmt.Errorf("%s, which becomes init, was not found (%s); name it with --init", initName, strings.Join(tried, ", "))
}

// skeleton is what every capture initrd has.
func (b *builder) skeleton() error {
	name, err := b.initProgram()
	if err != nil {
		return err
	}
	data, _, err := b.host.take("init", name)
	if err != nil {
		return err
	}
	if err := static(data); err != nil {
		return fmt.Errorf("%s can't be init: %w", name, err)
	}
	b.result.InitSize = int64(len(data))
	dirs := map[string]uint32{"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o700, "tmp": 0o1777, "etc": 0o755, "root": 0o700, "kdx": 0o700}
	for d, perm := range dirs {
		if err := b.files.dir(d, perm); err != nil {
			return err
		}
	}
	return errors.Join(b.files.add("init", 0o755, data), b.files.node("dev/console", 0o600, 5, 1), b.files.node("dev/null", 0o666, 1, 3))
}

// drivings finds the modules for everything.
func (b *builder) drivings() error {
	b.needs = append(b.needs, b.console()...)
	b.needs = append(b.needs, b.watchdog()...)
	b.needs = append(b.needs, wanted(b.config.Modules, "the configuration (modules)", false)...)
	mods, err := b.choose(b.needs)
	if err != nil {
		return err
	}
	return b.moduleFiles(mods)
}

// Places in the initrd of files that the configuration names.
const (
	keyPath   = "/kdx/ssh-key"
	hostsPath = "/kdx/known_hosts"
	erasePath = "/kdx/erase.conf"
	typesPath = "/kdx/types"
)

// secrets brings in keys, and what must not be in a dump.
func (b *builder) secrets() error {
	if slices.ContainsFunc(b.config.Targets, remote) {
		for _, f := range []struct{ what, name, at, hint string }{
			{"key", b.config.SSHKey, keyPath, "kdx capture propagate makes one and brings it to the target"},
			{"known hosts", b.config.KnownHosts, hostsPath, "kdx capture propagate pins the target's key; any other is refused"},
		} {
			data, _, err := b.host.take(f.what, b.host.path(f.name))
			if err != nil {
				return fmt.Errorf("a target over SSH needs it: %w (%s)", err, f.hint)
			}
			if err := b.files.add(f.at, 0o600, data); err != nil {
				return err
			}
		}
	}
	if b.config.EraseConfig == "" {
		return nil
	}
	data, _, err := b.host.take("erase configuration", b.host.path(b.config.EraseConfig))
	if err != nil {
		return fmt.Errorf("erase-config: %w", err)
	}
	return b.files.add(erasePath, 0o600, data)
}

func (b *builder) hooks() error {
	p := &programs{host: b.host, files: b.files, loaders: map[string]bool{}}
	var errs []error
	for _, h := range slices.Concat(b.config.PreHooks, b.config.PostHooks) {
		if err := p.hook("hook", h); err != nil {
			errs = append(errs, fmt.Errorf("hook %q: %w", h, err))
		}
	}
	for _, f := range b.config.HookFiles {
		if err := p.add("hook-file", f); err != nil {
			errs = append(errs, fmt.Errorf("hook-file: %w", err))
		}
	}
	return errors.Join(errs...)
}

// types resolves what filtering needs of the running kernel's types.
func (b *builder) types() error {
	data, err := resolved.FromHost(filepath.Join("/", b.host.root))
	if err != nil {
		b.note("types of the running kernel do not travel in the initrd (%v): those in the dump will be asked", err)
		return nil
	}
	b.plan.Types = typesPath
	return b.files.add(typesPath, 0o600, data)
}

// writePlan writes down what kdx-init is to do.
func (b *builder) writePlan() error {
	p := &b.plan
	p.Version, p.Kdx, p.Release, p.Config = plan.Version, b.opt.Kdx, b.release, *b.config
	p.Host = b.hostname()
	if notes, err := readSmall(b.host.path("/sys/kernel/notes"), 1<<20); err == nil {
		p.BuildID = elfnote.BuildID(notes, nativeEndian)
	}
	if b.files.has(keyPath) {
		p.Config.SSHKey, p.Config.KnownHosts = keyPath, hostsPath
	}
	if b.files.has(erasePath) {
		p.Config.EraseConfig = erasePath
	}
	data, err := p.Bytes()
	if err != nil {
		return fmt.Errorf("the plan for the capture kernel: %w", err)
	}
	return b.files.add(plan.Path, 0o600, data)
}

func (b *builder) hostname() string {
	for _, n := range []string{"/proc/sys/kernel/hostname", "/etc/hostname"} {
		if s, err := readLine(b.host.path(n)); err == nil && s != "" && s != "(none)" {
			return s
		}
	}
	return "localhost"
}

// manifest lists it all and goes into the initrd itself.
func (b *builder) manifest() (*Manifest, error) {
	m := &Manifest{Version: manifestVersion, Kdx: b.opt.Kdx, Release: b.release, Spec: b.spec, Packing: b.facts.best(), PackingBy: b.facts.From, Files: b.files.held()}
	for _, in := range b.host.inputs {
		m.Inputs = append(m.Inputs, in)
	}
	slices.SortFunc(m.Inputs, func(x, y Input) int { return strings.Compare(x.Path, y.Path) })
	data, err := m.bytes()
	if err != nil {
		return nil, err
	}
	b.result.Files = len(m.Files) + 1
	return m, b.files.add(ManifestPath, 0o600, data)
}
