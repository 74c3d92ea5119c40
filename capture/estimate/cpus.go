package estimate

// MostCPUs are those with which a stage stays within 16 MiB: it takes 11.5 with one, and 14.6 with two.
const MostCPUs = 2

// perWorker is what saving takes more for each CPU, bytes.
const perWorker = 3 * mib

// CPUs is how many CPUs the capture kernel can start, of those that are online: as many as have room in what is reserved, without the
// margin being touched.
func CPUs(in Input, reserved uint64, online int) int {
	for n := min(online, MostCPUs); n > 1; n-- {
		in.CPUs = n
		r := Of(in)
		if r.Peak+uint64(n-1)*perWorker <= reserved {
			return n
		}
	}
	return 1
}
