package save

import (
	"context"
	"encoding/hex"
	"time"

	"kdx/analyze/sysinfo"
	"kdx/analyze/vmem"
)

// askDump fills in what the caller does not know, from the kernel that crashed: its host's name, its boot's id, and the time if
// the clock stands before the crash, as that of a machine without one does.
func (r *runner) askDump(ctx context.Context) {
	if r.src.img == nil {
		return
	}
	if _, _, crashed := facts(r.src.img.Info().VMCoreInfo); crashed.After(time.Now()) {
		r.shift = time.Until(crashed)
		if crashed.After(r.Time) {
			r.Time = crashed
		}
		r.note("the clock stands at %s, before the crash: the time is taken from there", time.Now().UTC().Format(time.DateTime))
	}
	if r.src.kernel == nil {
		return
	}
	v := r.src.kernel.View(ctx)
	if r.Host == "" {
		if uts, err := sysinfo.ReadUTS(v); err == nil && uts.Nodename != "(none)" {
			r.Host = uts.Nodename
		}
	}
	if r.BootID != "" {
		return
	}
	// drivers/char/random.c: made when somebody first asks for it, which systemd does.
	sym, err := v.Symbol("sysctl_bootid")
	var id [16]byte
	if err == nil && v.Read(id[:], vmem.Addr(sym.Addr)) == nil && id != [16]byte{} {
		h := hex.EncodeToString(id[:])
		r.BootID = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
}

// now is the time, of which a clock that stands before the crash can't tell.
func (r *runner) now() time.Time { return time.Now().Add(r.shift) }
