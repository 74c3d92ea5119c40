package doctor

import "golang.org/x/sys/unix"

// freeBytes is what a filesystem has left for root.
func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return st.Bfree * uint64(st.Bsize), nil
}
