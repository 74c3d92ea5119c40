package main

import (
	"strings"

	"github.com/spf13/cobra"

	"kdx/internal/nearest"
)

// captureFlags are those of several capture commands.
type captureFlags struct {
	json bool
	root string
}

func (f *captureFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	c.Flags().StringVar(&f.root, "root", "", "read the files of another host, which lie under `DIR` as an sosreport has them")
}

func captureCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:     "capture COMMAND",
		Short:   "capture crash dumps on this host: reserve, build, load, test, save",
		Long:    captureHelp,
		Example: "  kdx capture size                      # how much to reserve, and what is reserved\n  kdx capture config show --default > /etc/kdx/capture.conf\n  kdx capture load\n  kdx capture doctor\n  kdx capture test",
		RunE: func(c *cobra.Command, args []string) error {
			return subcommand(c, args)
		},
	}
	c.AddCommand(captureSizeCommand(std), captureConfigCommand(std))
	c.AddCommand(captureDoctorCommand(std), captureTestCommand(std), captureCollectCommand(std), captureUnitsCommand(std))
	c.AddCommand(captureLoadCommand(std), captureUnloadCommand(std), captureReloadCommand(std), captureStatusCommand(std))
	c.AddCommand(captureInitrdCommand(std))
	c.AddCommand(captureSaveCommand(std), captureExtractCommand(std), capturePruneCommand(std), capturePropagateCommand(std))
	return c
}

// subcommand is the error for a command that wants another one behind it.
func subcommand(c *cobra.Command, args []string) error {
	var names []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			names = append(names, s.Name())
		}
	}
	if len(args) == 0 {
		return usagef("%s wants a command: %s (%s --help tells of them)", c.CommandPath(), strings.Join(names, ", "), c.CommandPath())
	}
	hint := ""
	if n := nearest.Of(args[0], names); n != "" {
		hint = " (" + n + "?)"
	}
	return usagef("%s has no command %q%s: %s", c.CommandPath(), args[0], hint, strings.Join(names, ", "))
}

// captureHelp is what an administrator who knows kdump needs.
const captureHelp = `When the kernel of an armed host panics, it starts a second kernel in memory
that was set aside at boot. There kdx is init: it saves the log and the
registers, then the memory that matters, filtered and compressed, to the first
target that takes it, proves that it is whole, and reboots.

To arm a host:

  1. Reserve memory: put the words that kdx capture size prints on the kernel's
     command line in the boot loader's configuration, and boot.
  2. Say where dumps go: target = in /etc/kdx/capture.conf. Without that file
     the configuration of kdump-tools (Debian), kdump (SUSE) or kdump-utils
     (Red Hat) is read; without that, dumps go to /var/crash. Several targets
     are tried in their order:
       target = /var/crash                           a directory of this host
       target = ext4:UUID=0b54a4a1-…:/dumps          of a filesystem, mounted or
                                                     not: ext4, xfs, btrfs
       target = raw:/dev/vdb2                        a partition, overwritten
       target = sftp://dumps@vault.example.com/srv   another host; ssh:// if it
                                                     has no sftp
  3. kdx capture load builds the capture initrd and loads it with the running
     kernel's image. To do so at every boot: kdx capture units --install, then
     systemctl enable --now kdx-capture kdx-collect. Disable kdump-tools.service
     or kdump.service, which would load another one.
  4. kdx capture doctor says what is not as it should be, and what to do.
  5. kdx capture test crashes the host, and kdx capture test --result says after
     the boot whether the dump arrived.

For a target on another host, kdx capture propagate makes a key, installs it
there and pins that host's key, and
  systemctl add-wants kdx-capture.service network-online.target
has the network up when the initrd is built at boot.

After a crash: kdx open TARGET/HOST-TIME-ID/vmcore; triage.txt says what there
was at first sight, manifest.json whether the dump is whole. What a raw
partition took, kdx capture collect brings to a directory.

For monitoring: kdx capture status exits with 14 if nothing is loaded, kdx
capture doctor with 14 if a crash now would leave no dump, with 15 if not all
is well.

Files:

  /etc/kdx/capture.conf    configuration (kdx capture config show --default)
  /boot/initrd.kdx         capture initrd, built anew when an input has changed
  /etc/kdx/id_ed25519      key for hosts that take dumps
  /etc/kdx/known_hosts     their keys
  /run/kdx/loaded.json     what is loaded
  TARGET/HOST-TIME-ID/     a dump: vmcore, dmesg.txt, triage.txt, kdx.log, and
                           manifest.json, which is written last

Loading is done with kexec_file_load. A load that the kernel refuses takes away
what was loaded before, so kdx looks at everything first, and loads the last
good image again if it is refused all the same.

docs/capture.md leads from nothing to a tested host in ten minutes.`
