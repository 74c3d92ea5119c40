# Run by kdx-lab in drgn with the full debug file: prints the types of what a file of JSON names, spelled as check_types.go spells them.
import json
import sys

import drgn
from drgn import Qualifiers, TypeKind

QUALIFIERS = ((Qualifiers.CONST, "c"), (Qualifiers.RESTRICT, "r"), (Qualifiers.VOLATILE, "v"))
WORDS = {TypeKind.STRUCT: "struct", TypeKind.UNION: "union", TypeKind.ENUM: "enum", TypeKind.CLASS: "struct"}
C_NAMES = {
    "long int": "long", "long unsigned int": "unsigned long", "long long int": "long long", "long long unsigned int": "unsigned long long",
    "short int": "short", "short unsigned int": "unsigned short", "__int128 unsigned": "unsigned __int128", "bool": "_Bool",
}


def go_bool(b):
    return "true" if b else "false"


def size_of(t):
    while t.kind == TypeKind.TYPEDEF:
        t = t.type
    try:
        return drgn.sizeof(t)
    except (TypeError, ValueError):
        return 0


def enum_signed(t):
    return t.type is not None and t.type.is_signed


def body(t):
    if t.kind == TypeKind.ENUM:
        return "signed:%s" % go_bool(enum_signed(t)) + "".join(";%s=%d" % (e.name, e.value) for e in t.enumerators or ())
    return "".join(
        ";%s@%d:%d %s" % (m.name or "", m.bit_offset, m.bit_field_size or 0, of(m.type)) for m in t.members or ()
    )


def of(t):
    q = "".join(word for flag, word in QUALIFIERS if t.qualifiers & flag)
    if q:
        return q + " " + of(t.unqualified())
    if t.qualifiers:  # _Atomic
        return of(t.unqualified())
    k = t.kind
    if k == TypeKind.VOID:
        return "void"
    if k == TypeKind.INT:
        return "%s/%d/%s" % (C_NAMES.get(t.name, t.name), t.size, go_bool(t.is_signed))
    if k in (TypeKind.BOOL, TypeKind.FLOAT):
        return "%s/%d/false" % (C_NAMES.get(t.name, t.name), t.size)
    if k == TypeKind.POINTER:
        return "*" + of(t.type)
    if k == TypeKind.ARRAY:
        return ("[]" if t.length is None else "[%d]" % t.length) + of(t.type)
    if k == TypeKind.FUNCTION:
        ps = [of(t.type)] + [(p.name or "") + " " + of(p.type) for p in t.parameters]
        if t.is_variadic:
            ps.append("...")
        return "f(" + ",".join(ps) + ")"
    if k == TypeKind.TYPEDEF:
        return "typedef " + t.name
    if t.tag is not None:
        return WORDS[k] + " " + t.tag
    return "%s{%d%s}" % (WORDS[k], size_of(t), body(t))


def definition(t):
    if t.kind == TypeKind.TYPEDEF:
        return "typedef %s %d %s" % (t.name, size_of(t), of(t.type))
    return "%s %s %d %s" % (WORDS[t.kind], t.tag, size_of(t), body(t))


def answer(names, f):
    out = {}
    for name in names:
        try:
            out[name] = f(name)
        except Exception:
            pass  # what drgn does not find or can't read (assembler's functions, say) is no difference
    return out


with open(sys.argv[1]) as f:
    ask = json.load(f)
json.dump(
    {
        "version": "drgn " + drgn.__version__,
        "structs": answer(ask["structs"], lambda n: definition(prog.type(n))),
        "variables": answer(ask["variables"], lambda n: of(prog.variable(n).type_)),
        "functions": answer(ask["functions"], lambda n: of(prog.function(n).type_)),
    },
    sys.stdout,
)
