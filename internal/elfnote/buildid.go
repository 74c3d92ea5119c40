package elfnote

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

// BuildID is the descriptor of the NT_GNU_BUILD_ID note among notes, in hexadecimal; "" if there is none.
func BuildID(notes []byte, order binary.ByteOrder) string {
	const ntGNUBuildID, longest = 3, 64 // those in use have 16 or 20 bytes
	id := ""
	_ = Scan(bytes.NewReader(notes), int64(len(notes)), order, func(n Record) bool {
		if n.Name == "GNU" && n.Type == ntGNUBuildID && n.Size > 0 && n.Size <= longest {
			id = hex.EncodeToString(notes[n.Offset : n.Offset+n.Size])
		}
		return id == ""
	}) // notes that make no sense end the search, as there is nothing behind them that could be found
	return id
}
