package storage

// mdVersion is how ioctl SET_ARRAY_INFO names a format of superblocks.
type mdVersion struct {
	major, minor int32
	known        bool
}

var mdVersions = map[string]mdVersion{"0.90": {0, 90, true}, "1.0": {1, 0, true}, "1.1": {1, 1, true}, "1.2": {1, 2, true}}
