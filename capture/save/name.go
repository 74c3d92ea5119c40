package save

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// TimeForm is how the time stands in the name of a directory: no colons, which some filesystems and servers refuse.
const TimeForm = "2006-01-02T15-04-05Z"

// DirName names the directory of a dump: HOST-TIME-BOOT, where BOOT is the beginning of the boot's id, or random if that is
// not known. Two crashes in a second have different names, and so have two hosts with the same name.
func DirName(host string, t time.Time, bootID string) string {
	return safeHost(host) + "-" + t.UTC().Format(TimeForm) + "-" + shortID(bootID)
}

// safeHost keeps what a host's name may hold.
func safeHost(host string) string {
	b := []byte(strings.ToLower(host))
	if len(b) > 64 {
		b = b[:64]
	}
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			b[i] = '_'
		}
	}
	s := strings.TrimLeft(string(b), ".-")
	if s == "" {
		return "unknown"
	}
	return s
}

func shortID(bootID string) string {
	id := strings.ToLower(strings.ReplaceAll(bootID, "-", ""))
	if raw, err := hex.DecodeString(id); err == nil && len(raw) >= 4 {
		return id[:8]
	}
	// Not crypto/rand: a capture kernel has gathered no entropy yet, and would make us wait a second or more for it.
	return fmt.Sprintf("%08x", rand.Uint32())
}
