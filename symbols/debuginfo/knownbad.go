package debuginfo

import (
	"fmt"
	"regexp"
	"strconv"
)

// badBuildIDs are the stable releases that put garbage into VMCOREINFO's BUILD-ID: the stricter parser of build-ids of
// 6.12-rc1 was backported without what it needs to read the kernel's own notes. This is one of the few places that go by a
// release's number, as there is nothing else to tell them by; the kernel's notes in memory are asked first (TrueBuildID).
var badBuildIDs = []struct {
	major, minor int
	first, last  int // of the third number
}{
	{5, 15, 168, endOfLine},
	{6, 1, 113, 118},
	{6, 6, 55, 62},
	{6, 10, 14, endOfLine},
	{6, 11, 3, 9},
}

const endOfLine = 1 << 30

// Distributions name their kernels otherwise (6.1.0-27-amd64, 5.15.0-127-generic) and give the release that they are built
// from further behind in the banner: "Debian 6.1.115-1", "(Ubuntu 5.15.0-127.137-generic 5.15.168)".
var upstream = []*regexp.Regexp{
	regexp.MustCompile(`\(Ubuntu [^ )]+ (\d+)\.(\d+)\.(\d+)\)`),
	regexp.MustCompile(`Debian (\d+)\.(\d+)\.(\d+)-`),
	regexp.MustCompile(`^Linux version (\d+)\.(\d+)\.(\d+)`),
}

// BelieveBuildID says whether VMCOREINFO's BUILD-ID of a kernel can be its build-id; why is a sentence if it can't. banner
// is linux_banner; if it is not known, "Linux version " and the release serve.
func BelieveBuildID(banner string) (ok bool, why string) {
	for _, re := range upstream {
		m := re.FindStringSubmatch(banner)
		if m == nil {
			continue
		}
		major, _ := strconv.Atoi(m[1]) // digits; what overflows is no known release
		minor, _ := strconv.Atoi(m[2])
		patch, _ := strconv.Atoi(m[3])
		for _, b := range badBuildIDs {
			if b.major == major && b.minor == minor && patch >= b.first && patch <= b.last {
				return false, fmt.Sprintf("kernels of release %d.%d.%d put garbage in its place", major, minor, patch)
			}
		}
		return true, ""
	}
	return true, ""
}
