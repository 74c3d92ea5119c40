package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// kdxVariable is a variable as bt -v says it.
type kdxVariable struct {
	Name    string          `json:"name"`
	Param   bool            `json:"parameter"`
	AtEntry bool            `json:"at_entry"`
	Address *string         `json:"address"`
	Value   json.RawMessage `json:"value"`
	Lost    string          `json:"lost"`
}

type kdxVariableStack struct {
	PID    int `json:"pid"`
	CPU    int `json:"cpu"`
	Frames []struct {
		PC     string `json:"pc"`
		Scopes []struct {
			Function string        `json:"function"`
			Vars     []kdxVariable `json:"variables"`
		} `json:"scopes"`
	} `json:"frames"`
}

// drgnVariable is one that drgn knows: the value of a scalar, else where it lies.
type drgnVariable struct {
	TID      int    `json:"tid"`
	CPU      int    `json:"cpu"`
	PC       string `json:"pc"`
	Inline   int    `json:"inline"`
	Function string `json:"function"`
	Name     string `json:"name"`
	Value    string `json:"value"`
	Address  string `json:"address"`
}

type variableKey struct {
	pid, cpu, inline   int
	pc, function, name string
}

// checkVars holds the parameters and variables in the frames of all tasks against drgn's: what both know must be equal, and what
// drgn knows kdx must know.
func (l *lab) checkVars(ctx context.Context, s *subject) (string, error) {
	theirs, version, err := l.drgnVariables(ctx, s)
	if err != nil {
		return "", err
	}
	vmlinux := filepath.Join(s.dir, "vmlinux")
	out, errs, err := s.run(ctx, s.dump, vmlinux, "--json", "-c", "foreach bt -v")
	var answer struct {
		Result []kdxVariableStack `json:"result"`
	}
	if jsonErr := json.Unmarshal([]byte(out), &answer); jsonErr != nil {
		return "", fmt.Errorf("kdx open -c 'foreach bt -v': %v: %w: %s", err, jsonErr, tail(errs, 5))
	}
	var pids []int
	for _, st := range answer.Result {
		if st.PID != 0 {
			pids = append(pids, st.PID)
		}
	}
	// crash 9.0.2 can't open 7.2.
	gdbs, gdbErr := l.gdbParameters(ctx, s, pids)
	inGdb, gdbWrong, gdbAlone := 0, 0, 0
	var d differences
	params, known, busy, atEntry, both, more := 0, 0, 0, 0, 0, 0
	for _, st := range answer.Result {
		seen := map[variableKey]int{}
		for _, f := range st.Frames {
			for inline, scope := range f.Scopes {
				for _, v := range scope.Vars {
					k := variableKey{st.PID, 0, inline, f.PC, scope.Function, v.Name}
					if st.PID == 0 {
						k.cpu = st.CPU
					}
					if seen[k]++; seen[k] > 1 {
						continue // of an outer block: drgn shows the inner one of a name
					}
					peer, has := theirs[k]
					if v.Param {
						params++
						if v.Lost == "" {
							known++
							if st.PID != 0 {
								busy++
							}
						}
						if v.AtEntry {
							atEntry++
						}
					}
					if value := gdbs[k]; value != "" && value[0] != '@' && v.Param {
						inGdb++
						// gdb looks for variables of inlined functions behind the call, so that of those who disagree drgn is heard, too.
						switch how := v.differsFromGdb(value); {
						case how == "":
						case has && v.equal(peer), passedOn(gdbs, k, v):
							gdbWrong++
						case v.Lost != "":
							gdbAlone++
						default:
							d.add("PID %d %s %s %s: %s", st.PID, f.PC, scope.Function, v.Name, how)
						}
					}
					switch {
					case has && v.Lost != "":
						d.add("PID %d %s %s: kdx has lost it (%s), drgn has %s%s", st.PID, scope.Function, v.Name, v.Lost, peer.Value, peer.Address)
					case has && !v.equal(peer):
						d.add("PID %d %s %s: kdx %s, drgn %s%s", st.PID, scope.Function, v.Name, v.Value, peer.Value, peer.Address)
					case has && v.Param:
						both++
					case !has && v.Param && v.Lost == "":
						more++
					}
				}
			}
		}
	}
	if params == 0 {
		d.add("kdx shows no parameters at all: %s", tail(errs, 5))
	}
	said := fmt.Sprintf("%d parameters: kdx knows %d (%d as at entry), of these drgn %s %d, all equal, and not %d", params, known, atEntry, version, both, more)
	if gdbErr != nil {
		return said + "; crash's gdb can't be asked", d.err()
	}
	return said + fmt.Sprintf("; idle tasks aside gdb knows %d and kdx %d: of %d compared kdx contradicts gdb, with drgn or with gdb itself, in %d, gdb alone has %d", len(gdbs), busy, inGdb, gdbWrong,
		gdbAlone), d.err()
}

// equal compares as far as both say: scalars by value, others by where they lie. Enumerators that kdx names are not compared.
func (v *kdxVariable) equal(peer drgnVariable) bool {
	if peer.Value == "" {
		return peer.Address == "" || v.Address != nil && *v.Address == peer.Address
	}
	mine, ok := number(strings.Trim(string(v.Value), `"`))
	want, _ := number(peer.Value)
	return !ok || mine == want
}

// passedOn reports whether what kdx says of a parameter is what gdb has for another one of the same name or meaning in the same
// frame: inlined functions are passed what the function around them has. gdb takes some of them from registers that the call
// destroyed.
func passedOn(gdbs map[variableKey]string, k variableKey, v kdxVariable) bool {
	mine, ok := number(strings.Trim(string(v.Value), `"`))
	if !ok {
		return false
	}
	for other, value := range gdbs {
		if other.pid != k.pid || other.pc != k.pc || other == k {
			continue
		}
		word, _, _ := strings.Cut(strings.TrimPrefix(value, "@"), " ")
		if u, ok := number(word); ok && u == mine {
			return true
		}
	}
	return false
}

// differsFromGdb says how v differs from what gdb prints; "" if it does not, as far as both show a number.
func (v *kdxVariable) differsFromGdb(value string) string {
	word, _, _ := strings.Cut(value, " ")
	want, ok := number(word)
	if !ok {
		return ""
	}
	if v.Lost != "" {
		return fmt.Sprintf("kdx has lost it (%s), gdb has %s", v.Lost, value)
	}
	if mine, ok := number(strings.Trim(string(v.Value), `"`)); ok && mine != want && int32(mine) != int32(want) {
		return fmt.Sprintf("kdx %s, gdb %s", v.Value, value)
	}
	return ""
}

// number reads an integer, a boolean or an address as 64 bits.
func number(text string) (u uint64, ok bool) {
	switch text {
	case "true":
		return 1, true
	case "false":
		return 0, true
	}
	if i, err := strconv.ParseInt(text, 0, 64); err == nil {
		return uint64(i), true
	}
	u, err := strconv.ParseUint(text, 0, 64)
	return u, err == nil
}

// drgnVariables runs testdata/lab/vars.py.
func (l *lab) drgnVariables(ctx context.Context, s *subject) (known map[variableKey]drgnVariable, version string, err error) {
	p, err := l.peers(ctx)
	if err != nil {
		return nil, "", err
	}
	script, err := os.ReadFile(l.data("vars.py"))
	if err != nil {
		return nil, "", err
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, "", fmt.Errorf("a comparison of variables needs the debug file: %w", err)
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, "", err
	}
	here := filepath.Join(dir, "vars.py")
	if err := os.WriteFile(here, script, 0o644); err != nil {
		return nil, "", err
	}
	defer os.Remove(here)
	out, err := p.run(ctx, []string{dir, filepath.Dir(vmlinux)}, "drgn", "-q", "-s", vmlinux, "-c", filepath.Join(dir, "vmcore"), here)
	if err != nil {
		return nil, "", err
	}
	var r struct {
		Version   string         `json:"version"`
		Variables []drgnVariable `json:"variables"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, "", fmt.Errorf("drgn: %w", err)
	}
	known = make(map[variableKey]drgnVariable)
	for _, v := range r.Variables {
		k := variableKey{v.TID, 0, v.Inline, v.PC, v.Function, v.Name}
		if v.TID == 0 {
			k.cpu = v.CPU
		}
		if _, done := known[k]; !done { // a function twice on one stack at one place: the inner one
			known[k] = v
		}
	}
	return known, r.Version, nil
}
