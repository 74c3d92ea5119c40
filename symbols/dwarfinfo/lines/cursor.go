package lines

import "kdx/symbols/dwarfinfo/internal/numbers"

// cursor reads headers and programs of .debug_line.
type cursor struct{ numbers.Reader }
