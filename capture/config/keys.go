package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"kdx/capture/reserve"
	"kdx/internal/nearest"
)

// key is a row of the table of keys, from which the parser, the default file and docs/capture-config.md are made.
type key struct {
	Name    string
	Section string
	// Form is what may stand behind the =.
	Form string
	// Help is for the default file and the docs, in a few lines.
	Help    string
	Default []string
	// Examples stand in the default file where there is no default.
	Examples []string
	// List: the key may stand several times.
	List bool

	set func(*Config, string) error
	get func(*Config) []string
}

func findKey(name string) *key {
	for i := range keys {
		if keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

const auto = "auto"

// AutoCPUs is what Config.CPUs is if it is left to kdx.
const AutoCPUs = -1

var (
	codecs         = []string{"zstd", "zlib", "lzo", "snappy", "raw"}
	finalActions   = []string{"reboot", "poweroff", "halt", "shell"}
	failureActions = finalActions
)

// keys is the table.
var keys = []key{
	{Name: "target", Section: "What is saved, and where", List: true, Default: []string{"/var/crash"}, Form: targetForms,
		Help: "Where the dump goes. Several lines are tried in this order, the next one when one fails. A directory alone\n" +
			"is one of the running host, wherever it is mounted from. DEVICE is /dev/NAME, UUID=…, LABEL=…, PARTUUID=… or\n" +
			"PARTLABEL=…; a btrfs target may end in subvol=NAME. A raw partition loses what is on it. sftp:// is the usual\n" +
			"way over the network; ssh:// runs commands, for hosts without sftp. There are no passwords here: see ssh-key.",
		Examples: []string{"ext4:UUID=0b54a4a1-9f3e-4c0e-9d5a-0c8f0c6ff0aa:/dumps", "sftp://dumps@vault.example.com/srv/dumps", "raw:/dev/vdb2"},
		set:      func(c *Config, v string) error { return setTarget(c, v) }, get: func(c *Config) []string { return texts(c.Targets) }},
	{Name: "level", Section: "What is saved, and where", Default: []string{"31"}, Form: "a number from 0 to 31",
		Help: "Which pages are left out, as makedumpfile -d counts: the sum of 1 (zeros), 2 (cache), 4 (private cache), 8 (user\n" +
			"processes), 16 (free). 0 saves everything. What kdx does not understand of the kernel stays in the dump.",
		set: func(c *Config, v string) error { return setInt(&c.Level, v, 0, 31) }, get: func(c *Config) []string { return []string{strconv.Itoa(c.Level)} }},
	{Name: "codec", Section: "What is saved, and where", Default: []string{"zstd"}, Form: "zstd, zlib, lzo, snappy or raw; a level of the codec may follow, as zstd:3",
		Help: "How pages are compressed. Old readers of dumps know zlib and lzo only.",
		set:  setCodec, get: func(c *Config) []string { return []string{codecText(c)} }},
	{Name: "redact", Section: "What is saved, and where", List: true, Form: "a rule as kdx convert --redact takes it: symbol:NAME, cache:NAME, process:NAME, regex:EXPRESSION, …",
		Help:     "What must not be in the dump. See docs/scrubbing.md.",
		Examples: []string{"process:vault", "cache:dm_crypt_io"},
		set: func(c *Config, v string) error {
			if kind, rest, ok := strings.Cut(v, ":"); ok && rest == "" || kind == "" {
				return fmt.Errorf("nothing follows %q", v)
			}
			c.Redact = append(c.Redact, v)
			return nil
		}, get: func(c *Config) []string { return c.Redact }},
	{Name: "erase-config", Section: "What is saved, and where", Form: "a file", Examples: []string{"/etc/kdx/erase.conf"},
		Help: "More of what must not be in the dump, in makedumpfile's erase configuration.",
		set:  func(c *Config, v string) error { return setPath(&c.EraseConfig, v) }, get: func(c *Config) []string { return some(c.EraseConfig) }},
	{Name: "keep", Section: "What is saved, and where", Default: []string{"0"}, Form: "a number; 0 keeps all",
		Help: "How many dumps stay on a target. Older ones go when a new one is whole: only directories that kdx made, never the\nnewest whole one.",
		set:  func(c *Config, v string) error { return setInt(&c.Keep, v, 0, 1<<20) }, get: func(c *Config) []string { return []string{strconv.Itoa(c.Keep)} }},
	{Name: "keep-free", Section: "What is saved, and where", Default: []string{"64M"}, Form: "a size such as 64M or 2G",
		Help: "What must stay free on the target's filesystem. A dump that would not leave it goes to the next target.",
		set:  func(c *Config, v string) error { return setSize(&c.KeepFree, v) }, get: func(c *Config) []string { return []string{reserve.Size(c.KeepFree)} }},

	{Name: "kernel", Section: "The capture kernel", Default: []string{auto}, Form: "auto, or the path of a kernel image",
		Help: "The kernel that captures. auto is the running one's image.",
		set:  func(c *Config, v string) error { return setAutoPath(&c.Kernel, v) }, get: func(c *Config) []string { return []string{orAuto(c.Kernel)} }},
	{Name: "initrd", Section: "The capture kernel", Default: []string{"/boot/initrd.kdx"}, Form: "a path",
		Help: "Where the capture initrd is written and loaded from.",
		set:  func(c *Config, v string) error { return setPath(&c.Initrd, v) }, get: func(c *Config) []string { return []string{c.Initrd} }},
	{Name: "modules", Section: "The capture kernel", List: true, Form: "names of kernel modules", Examples: []string{"hpwdt i2c_i801"},
		Help: "Modules beyond those that console, target and network need, which kdx finds itself.",
		set:  func(c *Config, v string) error { return addWords(&c.Modules, v) }, get: func(c *Config) []string { return join(c.Modules) }},
	{Name: "cmdline", Section: "The capture kernel", Default: []string{auto}, Form: "auto, or a kernel command line",
		Help: "The command line to start from. auto is the running kernel's.",
		set: func(c *Config, v string) error {
			if c.Cmdline = v; v == auto {
				c.Cmdline = ""
			}
			return nil
		}, get: func(c *Config) []string { return []string{orAuto(c.Cmdline)} }},
	{Name: "cmdline-remove", Section: "The capture kernel", List: true, Form: "names of parameters", Examples: []string{"slub_debug log_buf_len"},
		Help: "Parameters that are taken out of it, beyond those that kdx takes out itself.",
		set:  func(c *Config, v string) error { return addWords(&c.CmdlineRemove, v) }, get: func(c *Config) []string { return join(c.CmdlineRemove) }},
	{Name: "cmdline-append", Section: "The capture kernel", List: true, Form: "words of a command line", Examples: []string{"irqpoll pcie_ports=compat"},
		Help: "Words that are put at its end.",
		set:  func(c *Config, v string) error { return addWords(&c.CmdlineAppend, v) }, get: func(c *Config) []string { return join(c.CmdlineAppend) }},
	{Name: "cpus", Section: "The capture kernel", Default: []string{auto}, Form: "auto, or a number; 0 is all",
		Help: "CPUs that the capture kernel starts (nr_cpus=). Each one takes memory of the reservation. auto is 2 if there are as\nmany and have room in it; 1 otherwise, on other processors than x86, and in guests of Xen.",
		set: func(c *Config, v string) error {
			if v == auto {
				c.CPUs = AutoCPUs
				return nil
			}
			return setInt(&c.CPUs, v, 0, 1<<16)
		}, get: func(c *Config) []string {
			if c.CPUs == AutoCPUs {
				return []string{auto}
			}
			return []string{strconv.Itoa(c.CPUs)}
		}},
	{Name: "console", Section: "The capture kernel", List: true, Default: []string{auto}, Form: "auto, or a device as in console=",
		Help: "Where progress is shown. auto takes the console= words of the command line.", Examples: []string{"ttyS0,115200"},
		set: setConsole, get: func(c *Config) []string {
			if c.Consoles == nil {
				return []string{auto}
			}
			return c.Consoles
		}},

	{Name: "ssh-key", Section: "Network", Default: []string{"/etc/kdx/id_ed25519"}, Form: "a path",
		Help: "The private key, without a passphrase, for sftp:// and ssh:// targets.",
		set:  func(c *Config, v string) error { return setPath(&c.SSHKey, v) }, get: func(c *Config) []string { return []string{c.SSHKey} }},
	{Name: "ssh-known-hosts", Section: "Network", Default: []string{"/etc/kdx/known_hosts"}, Form: "a path",
		Help: "Keys of the hosts that may receive dumps, as ssh's known_hosts. Any other key is refused.",
		set:  func(c *Config, v string) error { return setPath(&c.KnownHosts, v) }, get: func(c *Config) []string { return []string{c.KnownHosts} }},
	{Name: "network", Section: "Network", List: true, Default: []string{auto}, Form: networkForms,
		Help: "The interface for targets over the network. auto takes the one by which the running host reaches the target, with the\n" +
			"addresses that it has when the initrd is built. It is found by its MAC address, whatever its name is then.",
		Examples: []string{"eth0 dhcp", "52:54:00:12:34:56 static 192.0.2.7/24 gateway 192.0.2.1 vlan 12"},
		set:      setNetwork, get: func(c *Config) []string {
			if c.Networks == nil {
				return []string{auto}
			}
			return texts(c.Networks)
		}},

	{Name: "pre-hook", Section: "Hooks", List: true, Form: "a command with arguments", Examples: []string{"/etc/kdx/pre.sh"},
		Help: "Runs before the dump is saved. The dump is saved, whatever it says.",
		set:  func(c *Config, v string) error { return addCommand(&c.PreHooks, v) }, get: func(c *Config) []string { return c.PreHooks }},
	{Name: "post-hook", Section: "Hooks", List: true, Form: "a command with arguments", Examples: []string{"/etc/kdx/post.sh"},
		Help: "Runs afterwards, with one more argument: 0 if the dump was saved, 1 if not.",
		set:  func(c *Config, v string) error { return addCommand(&c.PostHooks, v) }, get: func(c *Config) []string { return c.PostHooks }},
	{Name: "hook-file", Section: "Hooks", List: true, Form: "paths", Examples: []string{"/usr/bin/curl"},
		Help: "Programs and files that hooks need in the initrd, beside the hooks themselves.",
		set:  addPaths, get: func(c *Config) []string { return c.HookFiles }},

	{Name: "final-action", Section: "The end", Default: []string{"reboot"}, Form: "reboot, poweroff, halt or shell",
		Help: "What happens when the dump is saved.",
		set:  func(c *Config, v string) error { return setChoice(&c.FinalAction, v, finalActions) }, get: func(c *Config) []string { return []string{c.FinalAction} }},
	{Name: "failure-action", Section: "The end", Default: []string{"reboot"}, Form: "reboot, poweroff, halt or shell",
		Help: "What happens when no target took it. A shell waits for a person: production hosts reboot.",
		set:  func(c *Config, v string) error { return setChoice(&c.FailureAction, v, failureActions) }, get: func(c *Config) []string { return []string{c.FailureAction} }},

	{Name: "device-timeout", Section: "Limits", Default: []string{"1m"}, Form: "a time such as 30s, 5m or 2h", Help: "How long the target's device is waited for.",
		set: func(c *Config, v string) error { return setTime(&c.DeviceTimeout, v) }, get: func(c *Config) []string { return []string{timeText(c.DeviceTimeout)} }},
	{Name: "network-timeout", Section: "Limits", Default: []string{"1m"}, Form: "a time such as 30s, 5m or 2h", Help: "How long link, address and an answer of the target's host are waited for.",
		set: func(c *Config, v string) error { return setTime(&c.NetworkTimeout, v) }, get: func(c *Config) []string { return []string{timeText(c.NetworkTimeout)} }},
	{Name: "hook-timeout", Section: "Limits", Default: []string{"1m"}, Form: "a time such as 30s, 5m or 2h", Help: "How long a hook may take.",
		set: func(c *Config, v string) error { return setTime(&c.HookTimeout, v) }, get: func(c *Config) []string { return []string{timeText(c.HookTimeout)} }},
	{Name: "save-timeout", Section: "Limits", Default: []string{"4h"}, Form: "a time such as 30s, 5m or 2h", Help: "How long saving to one target may take.",
		set: func(c *Config, v string) error { return setTime(&c.SaveTimeout, v) }, get: func(c *Config) []string { return []string{timeText(c.SaveTimeout)} }},
	{Name: "triage-timeout", Section: "Limits", Default: []string{"2m"}, Form: "a time such as 30s, 5m or 2h", Help: "How long backtraces and tasks may take, once the dump is saved.",
		set: func(c *Config, v string) error { return setTime(&c.TriageTimeout, v) }, get: func(c *Config) []string { return []string{timeText(c.TriageTimeout)} }},
	{Name: "memory", Section: "Limits", Default: []string{auto}, Form: "auto, or a size such as 64M", Help: "The memory that a stage may take. auto is what the capture kernel leaves.",
		set: func(c *Config, v string) error {
			if v == auto {
				c.Memory = 0
				return nil
			}
			return setSize(&c.Memory, v)
		}, get: func(c *Config) []string {
			if c.Memory == 0 {
				return []string{auto}
			}
			return []string{reserve.Size(c.Memory)}
		}},
	{Name: "watchdog", Section: "Limits", Default: []string{auto}, Form: "auto, off, or a device such as /dev/watchdog0", Help: "The watchdog that is fed while kdx works. auto feeds the one that runs, and never starts one.",
		set: setWatchdog, get: func(c *Config) []string { return []string{orAuto(c.Watchdog)} }},

	{Name: "sysctl", Section: "The running host", List: true, Default: []string{"kernel.panic_on_oops=1"}, Form: "NAME=VALUE, or none",
		Help: "Set when the capture kernel is loaded: what counts as a panic. none sets nothing.", Examples: []string{"kernel.hung_task_panic=1"},
		set: setSysctl, get: func(c *Config) []string {
			if len(c.Sysctls) == 0 {
				return []string{"none"}
			}
			return c.Sysctls
		}},
}

func setTarget(c *Config, v string) error {
	t, err := ParseTarget(v)
	if err != nil {
		return err
	}
	if slices.Contains(c.Targets, t) {
		return fmt.Errorf("%s is a target already", t)
	}
	c.Targets = append(c.Targets, t)
	return nil
}

func setCodec(c *Config, v string) error {
	name, level, has := strings.Cut(v, ":")
	if err := setChoice(&c.Codec, name, codecs); err != nil {
		return err
	}
	c.CodecLevel = 0
	if !has {
		return nil
	}
	top := map[string]int{"zstd": 22, "zlib": 9}[name]
	if top == 0 {
		return fmt.Errorf("%s has no levels", name)
	}
	return setInt(&c.CodecLevel, level, 1, top)
}

func codecText(c *Config) string {
	if c.CodecLevel == 0 {
		return c.Codec
	}
	return fmt.Sprintf("%s:%d", c.Codec, c.CodecLevel)
}

func setConsole(c *Config, v string) error {
	if v == auto {
		c.Consoles = nil
		return nil
	}
	if strings.ContainsAny(v, " \t/=") {
		return fmt.Errorf("%q is no console; ttyS0,115200 or tty0, as behind console=, one a line", v)
	}
	c.Consoles = append(c.Consoles, v)
	return nil
}

func setNetwork(c *Config, v string) error {
	if v == auto {
		c.Networks = nil
		return nil
	}
	n, err := ParseNetwork(v)
	if err == nil {
		c.Networks = append(c.Networks, n)
	}
	return err
}

func setWatchdog(c *Config, v string) error {
	switch {
	case v == auto:
		c.Watchdog = ""
	case v == "off", strings.HasPrefix(v, "/dev/watchdog") && path.Clean(v) == v:
		c.Watchdog = v
	default:
		return fmt.Errorf("%q is not auto, off or a device such as /dev/watchdog0", v)
	}
	return nil
}

func setSysctl(c *Config, v string) error {
	if v == "none" {
		return nil
	}
	name, value, ok := strings.Cut(v, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || value == "" || !strings.ContainsAny(name, "./") || strings.ContainsAny(name, " \t") || strings.Contains(name, "..") || strings.HasPrefix(name, "/") {
		return fmt.Errorf("%q is no NAME=VALUE such as kernel.panic_on_oops=1", v)
	}
	c.Sysctls = append(c.Sysctls, name+"="+value)
	return nil
}

func setInt(p *int, v string, low, high int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return fmt.Errorf("%q is no number from %d to %d", v, low, high)
	}
	*p = n
	return nil
}

func setSize(p *uint64, v string) error {
	n, ok := reserve.ParseSize(v)
	if !ok || len(v) > 16 || len(v) > 1 && v[0] == '0' {
		return fmt.Errorf("%q is no size such as 64M or 2G", v)
	}
	*p = n
	return nil
}

func setTime(p *time.Duration, v string) error {
	if _, err := strconv.Atoi(v); err == nil {
		return fmt.Errorf("%q has no unit; %ss is %s seconds", v, v, v)
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 || d%time.Second != 0 {
		return fmt.Errorf("%q is no time such as 30s, 5m or 2h", v)
	}
	*p = d
	return nil
}

// timeText is a time in its largest units: 1m30s, 4h.
func timeText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func setChoice(p *string, v string, choices []string) error {
	if !slices.Contains(choices, v) {
		return fmt.Errorf("%q is not there; %s", v, oneOf(v, choices))
	}
	*p = v
	return nil
}

// oneOf lists choices, and which may have been meant.
func oneOf(v string, choices []string) string {
	s := "it is one of " + strings.Join(choices, ", ")
	if n := nearest.Of(v, choices); n != "" {
		s += " (" + n + "?)"
	}
	return s
}

func setPath(p *string, v string) error {
	clean, err := cleanPath(v)
	if err == nil {
		*p = clean
	}
	return err
}

func setAutoPath(p *string, v string) error {
	if v == auto {
		*p = ""
		return nil
	}
	return setPath(p, v)
}

func addCommand(p *[]string, v string) error {
	words := strings.Fields(v)
	if len(words) == 0 {
		return errors.New("nothing is named")
	}
	if _, err := cleanPath(words[0]); err != nil {
		return fmt.Errorf("a command begins with the absolute path of a program: %w", err)
	}
	*p = append(*p, strings.Join(words, " "))
	return nil
}

func addPaths(c *Config, v string) error {
	for _, w := range strings.Fields(v) {
		p, err := cleanPath(w)
		if err != nil {
			return err
		}
		c.HookFiles = append(c.HookFiles, p)
	}
	return nil
}

func addWords(p *[]string, v string) error {
	words := strings.Fields(v)
	if len(words) == 0 {
		return errors.New("nothing is named")
	}
	*p = append(*p, words...)
	return nil
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func join(words []string) []string { return some(strings.Join(words, " ")) }

func orAuto(s string) string {
	if s == "" {
		return auto
	}
	return s
}

func texts[T fmt.Stringer](list []T) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.String())
	}
	return out
}
