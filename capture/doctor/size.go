package doctor

import "fmt"

func mebi(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
