package main

import (
	"strings"
	"testing"
)

// What kernels said on their consoles, shortened: 6.12 with a breakpoint in schedule() that nobody waits for, 7.2 on a machine whose timer does not tick,
// and 6.12 as it dies when it is asked to.
const (
	diedInt3 = `[    0.549663] Mountpoint-cache hash table entries: 1024 (order: 1, 8192 bytes, linear)
[    0.696225] smpboot: CPU0: AMD QEMU TCG CPU version 2.5+ (family: 0xf, model: 0x6b, stepping: 0x1)
[    0.698481] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI
[    0.698481] CPU: 0 UID: 0 PID: 2 Comm: kthreadd Not tainted 6.12.117+deb12-cloud-amd64 #1  Debian 6.12.117-1~deb12u1
[    0.698481] Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
[    0.698481] RIP: 0010:schedule+0x1/0xc0
[    0.698481] Call Trace:
[    0.698481]  <TASK>
[    0.698481]  kthreadd+0x2d3/0x2f0
[    0.698481]  </TASK>
`
	int3Panic = `[    0.698481] ---[ end trace 0000000000000000 ]---
[    0.698481] Kernel panic - not syncing: Fatal exception in interrupt
`
	diedTimer = `[    0.000000] ...trying to set up timer as ExtINT IRQ...
[    0.000000] ..... failed :
[    0.000000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.  Then try booting with the 'noapic' option.
[    0.000000] CPU: 0 UID: 0 PID: 0 Comm: swapper/0 Not tainted 7.2.13+deb14-cloud-amd64 #1 PREEMPT(lazy)  Debian 7.2.13-1 
`
	begins = `[    7.905110] Run /init as init process
kdx-lab: first kernel, way sysrq, armed by kdx
[    9.108412] EXT4-fs (nvme0n1): mounted filesystem 296e5dad-01fe-4fd0-8789-a31ec58c9cc6 r/w with ordered data mode. Quota mode: none.
/boot/initrd.kdx: built, because there was none
armed: a panic starts /boot/vmlinuz (6.12.117+deb12-cloud-amd64) with /boot/initrd.kdx
`
	works = `[  145.587386] kdx-lab: workload ready
kdx-lab: truth saved
`
	dying = `[  166.775291] kdx-lab: dying by sysrq
`
	asked = `[  166.788897] sysrq: Trigger a crash
[  166.794016] Kernel panic - not syncing: sysrq triggered crash
[  166.795203] CPU: 0 UID: 0 PID: 602 Comm: lab-die Kdump: loaded Tainted: G     U             6.12.117+deb12-cloud-amd64 #1  Debian 6.12.117-1~deb12u1
`
	captures = `[    0.000000] Linux version 6.12.117+deb12-cloud-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1~deb12u1 (2026-11-14)
[    7.321] kdx: this is kdx-init, on Linux 6.12.117+deb12-cloud-amd64 x86_64
`
	memoryOut = `[    2.806132] Kernel panic - not syncing: System is deadlocked on memory
`
	lives = `kdx-lab: lives
[   38.590873] reboot: Power down
`
)

func TestDied(t *testing.T) {
	dies := []string{saidTruth, saidDying}
	tests := []struct {
		name    string
		console string
		ended   bool
		done    []string
		why     string
	}{
		{"int3 and panic", diedInt3 + int3Panic, true, dies, "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"},
		{"int3, and hangs", diedInt3, false, dies, "Oops: int3: 0000 [#1]"},
		{"timer", diedTimer, true, dies, "IO-APIC + timer doesn't work!"},
		{"hangs before its init", "[    1.325989] ACPI: PCI Interrupt Link [LNKS] (IRQs *9)\n", false, dies, "never came to its init"},
		{"in the workload, and captured", begins + int3Panic + captures, true, dies, "Fatal exception in interrupt"},
		{"in the workload, its words lost", begins + captures, true, dies, "the capture kernel runs"},
		{"away in the workload", begins, true, dies, "went away"},
		{"way nobody asked for", begins + asked, true, dies, "sysrq triggered crash"},
		{"as asked", begins + works + dying + asked + captures, true, dies, ""},
		{"as asked, its words lost", begins + works + captures, true, dies, ""},
		{"as asked, the host pulls the trigger", begins + dying, false, []string{saidDying + "sysrq"}, ""},
		{"by itself in the capture kernel", begins + works + dying + asked + captures + memoryOut, true, dies, ""},
		{"busy", begins, false, dies, ""},
		{"an oops that it survives", begins + diedInt3 + works + dying + asked, true, dies, ""},
		{"lives", begins + lives, true, []string{saidLives}, ""},
		{"should live", begins + int3Panic, true, []string{saidLives}, "Fatal exception"},
		{"powered off", begins + "[   38.590873] reboot: Power down\n", true, []string{saidLives}, ""},
	}
	for _, tt := range tests {
		why, at := died(tt.console, tt.ended, tt.done)
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) {
			t.Errorf("%s: died = %q; want %q", tt.name, why, tt.why)
		}
		if rest := tt.console[at:]; at > 0 && strings.Contains(rest, works) {
			t.Errorf("%s: the position is before what says that it is done", tt.name)
		}
	}
}

// TestStrayBreakpoint: in the capture kernel no other death is the emulator's.
func TestStrayBreakpoint(t *testing.T) {
	before := begins + works + dying + asked
	for console, want := range map[string]bool{before + diedInt3 + int3Panic: true, before + captures: false, before + memoryOut: false, before + diedTimer: false} {
		if why := strayBreakpoint.FindString(console); (why != "") != want {
			t.Errorf("%.60q…: %q; want one: %v", console[len(before):], why, want)
		}
	}
}
