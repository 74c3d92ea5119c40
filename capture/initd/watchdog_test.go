package initd

import (
	"strings"
	"testing"
	"time"
)

func TestWatchdog(t *testing.T) {
	m := newMachine(t, "", nil)
	dog := func(name, state, left, nowayout string) {
		d := "sys/class/watchdog/" + name + "/"
		m.write(d+"state", state+"\n")
		m.write(d+"identity", "a dog\n")
		m.write(d+"timeout", "30\n")
		m.write(d+"nowayout", nowayout+"\n")
		if left != "" {
			m.write(d+"timeleft", left+"\n")
		}
		m.write("dev/"+name, "")
	}
	dog("watchdog0", "inactive", "", "0")
	dog("watchdog1", "active", "", "0")
	dog("watchdog2", "active", "", "1")
	dog("watchdog3", "inactive", "10", "0") // the kernel feeds it
	log := newJournal()
	if err := log.open(m.root + "/log"); err != nil {
		t.Fatal(err)
	}
	w := newWatchdogs(&m.sys, log)
	w.look("")
	w.look("")
	w.end(true)
	for name, want := range map[string]string{"watchdog0": "", "watchdog1": "\x00V", "watchdog2": "\x00", "watchdog3": ""} {
		if got := m.read("dev/" + name); got != want {
			t.Errorf("%s got %q; want %q\n%s", name, got, want, m.read("log"))
		}
	}
	if !strings.Contains(m.read("log"), "watchdog2 can't be stopped (nowayout)") {
		t.Error(m.read("log"))
	}
	// Nobody feeds one that the kernel was told not to feed.
	m.write("sys/module/watchdog/parameters/handle_boot_enabled", "N\n")
	w = newWatchdogs(&m.sys, log)
	go func() { time.Sleep(watchdogLook / 2); m.write("sys/class/watchdog/watchdog3/timeleft", "8\n") }()
	w.look("")
	w.end(false)
	if got := m.read("dev/watchdog3"); got != "\x00" {
		t.Errorf("watchdog3 got %q\n%s", got, m.read("log"))
	}
	// One that is configured is started; off is off.
	w = newWatchdogs(&m.sys, log)
	w.look("off")
	w.look("/dev/watchdog")
	w.end(false)
	if got := m.read("dev/watchdog0"); got != "\x00" {
		t.Errorf("watchdog0 got %q\n%s", got, m.read("log"))
	}
}
