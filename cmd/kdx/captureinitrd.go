package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/repl"
)

func captureInitrdCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "initrd COMMAND",
		Short: "the capture initrd: build, show, verify",
		Long: "The capture initrd holds what saving a dump needs of this host: kdx-init, the kernel modules for the target's disks or network and what those need, keys, and a plan. " +
			"Nothing of the distribution is used to build it. See docs/capture-initrd.md.",
		RunE: func(c *cobra.Command, args []string) error { return subcommand(c, args) },
	}
	c.AddCommand(initrdBuildCommand(std), initrdShowCommand(std), initrdVerifyCommand(std))
	return c
}

// untilStopped is a context that ends with Ctrl-C.
func untilStopped() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

func initrdBuildCommand(std stdio) *cobra.Command {
	var f captureFlags
	var spec initrd.Spec
	var opt initrd.Options
	c := &cobra.Command{
		Use:   "build",
		Short: "build the capture initrd, if anything changed that it is made of",
		Long: "Finds out what each target stands on (partitions, LVM, md, network) and which kernel modules that needs, and writes an initrd with kdx-init, the modules, firmware, keys, hooks with " +
			"their libraries, and a plan for the capture kernel. Without flags all comes from the configuration; kdx capture load keeps the flags when it builds anew. The file is written only if one of its inputs changed since, and appears whole.\n\n" +
			"Everything that is missing is named at once, with what needs it. Exit code 12 if the configuration can't be used.",
		Example: "  kdx capture initrd build\n" +
			"  kdx capture initrd build --kernel /boot/vmlinuz --target ext4:/dev/nvme0n1:/dumps --level 31 -o /boot/initrd.kdx\n" +
			"  kdx capture initrd build --target sftp://dumps@vault.example.com/srv/dumps --target /var/crash\n" +
			"  kdx capture initrd build --json | jq .result.packed",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("level") {
				if n, err := strconv.Atoi(spec.Level); err != nil || n < 0 || n > 31 {
					return usagef("--level wants a number from 0 to 31, not %q", spec.Level)
				}
			}
			for _, t := range spec.Targets {
				if _, err := config.ParseTarget(t); err != nil {
					return usagef("--target: %v", err)
				}
			}
			for _, path := range []*string{&spec.ConfigFile, &spec.Kernel, &spec.Init, &spec.ModulesDir} { // a later build begins elsewhere
				if *path == "" {
					continue
				}
				var err error
				if *path, err = filepath.Abs(*path); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			ctx, stop := untilStopped()
			defer stop()
			opt.Root, opt.Kdx = f.root, version()
			r, err := initrd.Build(ctx, spec, opt)
			if err != nil {
				return initrdStatus(ctx, err)
			}
			return answer(std.out, f.json, "capture initrd build", []string{}, r, r.Text)
		},
	}
	f.add(c)
	c.Flags().StringVar(&spec.Kernel, "kernel", "", "`IMAGE` of the capture kernel (default the configuration's: the running kernel's)")
	c.Flags().StringArrayVar(&spec.Targets, "target", nil, "where dumps go, as in the configuration: FSTYPE:DEVICE:/DIRECTORY, /DIRECTORY, raw:DEVICE, sftp://USER@HOST/DIRECTORY, ssh://…; several `TARGETS` are tried in order")
	c.Flags().StringVar(&spec.Level, "level", "", "dump level, 0 to 31")
	c.Flags().StringVar(&spec.Codec, "codec", "", "`CODEC` of pages: zstd, zlib, lzo, snappy, raw, with a level as zstd:3")
	c.Flags().StringVarP(&opt.Output, "output", "o", "", "write `FILE` (default the configuration's: /boot/initrd.kdx)")
	c.Flags().StringVar(&spec.Init, "init", "", "the program kdx-init as `FILE` (default the one beside kdx)")
	c.Flags().StringArrayVar(&spec.Modules, "module", nil, "`NAME` of one more kernel module")
	c.Flags().StringVar(&spec.ConfigFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	c.Flags().StringVar(&spec.ModulesDir, "modules-dir", "", "the capture kernel's tree of modules as `DIR` (default /lib/modules/RELEASE)")
	c.Flags().BoolVar(&opt.Force, "force", false, "build it even if nothing changed")
	return c
}

// initrdStatus is the exit code for an initrd that could not be built or read.
func initrdStatus(ctx context.Context, err error) error {
	var bad *initrd.ConfigError
	switch {
	case ctx.Err() != nil:
		return &statusError{repl.Interrupted, errors.New("interrupted; the initrd is as it was")}
	case errors.As(err, &bad):
		return &statusError{repl.NotUsable, err}
	}
	return &statusError{repl.Failed, err}
}

// initrdFile is the file that is named, or the configuration's.
func initrdFile(root, configFile string, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	path, err := initrd.DefaultPath(root, configFile)
	if err != nil {
		return "", configStatus(err)
	}
	return path, nil
}

func initrdShowCommand(std stdio) *cobra.Command {
	var f captureFlags
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "what is in an initrd: kdx's own, dracut's, initramfs-tools'",
		Long: "Lists the files of an initrd, its parts (microcode comes before the packed one), its kernel modules, and of kdx's own what it will do. Reads what kernels read: archives of cpio, one behind " +
			"the other, not packed or packed with gzip, xz, zstd, lz4, lzo, lzma or bzip2. Without FILE the configuration's is shown. Exit code 8 if it is damaged.",
		Example: "  kdx capture initrd show\n  kdx capture initrd show /boot/initrd.img-6.12.0 | grep '\\.ko'\n  kdx capture initrd show --json | jq .result.plan",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := initrdFile(f.root, "", args)
			if err != nil {
				return err
			}
			ctx, stop := untilStopped()
			defer stop()
			r, err := initrd.Show(ctx, path)
			if err != nil {
				return initrdStatus(ctx, err)
			}
			if err := answer(std.out, f.json, "capture initrd show", args, r, r.Text); err != nil {
				return err
			}
			if r.Damaged != "" {
				return exitWith(repl.Damaged)
			}
			return nil
		},
	}
	f.add(c)
	return c
}

func initrdVerifyCommand(std stdio) *cobra.Command {
	var f captureFlags
	var kernel, configFile string
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "whether a capture initrd is whole, for the right kernel, and up to date",
		Long: "Checks a capture initrd of kdx: the sum of every file in it, that everything is there which its plan needs, that it is for the kernel that will be loaded with it, and that what it was " +
			"built from is on the host as it was then. Says which file changed.\n\nExit code 12: it can't be relied on; 15: it is whole, but something changed since it was built.",
		Example: "  kdx capture initrd verify\n  kdx capture initrd verify /boot/initrd.kdx --kernel /boot/vmlinuz\n  kdx capture initrd verify --json | jq .result.changes",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := initrdFile(f.root, configFile, args)
			if err != nil {
				return err
			}
			ctx, stop := untilStopped()
			defer stop()
			v, err := initrd.Verify(ctx, path, kernel, initrd.Options{Root: f.root, Kdx: version()})
			if err != nil {
				return initrdStatus(ctx, err)
			}
			if err := answer(std.out, f.json, "capture initrd verify", args, v, v.Text); err != nil {
				return err
			}
			switch {
			case len(v.Problems) > 0:
				return exitWith(repl.NotUsable)
			case len(v.Changes) > 0:
				return exitWith(repl.Doubtful)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&kernel, "kernel", "", "the capture kernel's `IMAGE` (default the one that it was built for)")
	c.Flags().StringVar(&configFile, "config", "", "find the initrd by the configuration `FILE` (default "+config.Path+")")
	return c
}
