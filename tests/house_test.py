#!/usr/bin/env python3
"""House rules that a script can see, for the folders in FOLDERS. Prints what breaks one:

- a function of 25 lines or more, signature included, without a comment above it. Of a function that a header of the
  project declares the comment above the declaration counts;
- a string literal with the word "wanted": users expect "expected";
- a file of more than 500 lines that does not name its reason in its first ten: "Long because ...";
- a script of findings/ that docs/interop.md does not name, or a name there without a script.

house_test.py [PROGRAM] [--all]: with --all lists every function of 25 lines or more, with the comment's first line.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["lib", "formats", "apps"]
LONG_FUNCTION = 25
LONG_FILE = 500
REASON = re.compile(r"^//.*\bLong because\b", re.M)

TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
DIGIT_MARK = re.compile(r"(?<=[0-9A-Fa-f])'(?=[0-9A-Fa-f])")
NO_FUNCTION = re.compile(
    r"^\s*(?:template\s*<.*?>\s*)?(?:namespace|struct|class|union|enum|extern\s*\"|using|typedef|if|for|while|switch|"
    r"do|else|try|catch|return|static_assert)\b", re.S)
RECORD = re.compile(r"^\s*(?:template\s*<.*>\s*)?(?:inline\s+)?(?:namespace|struct|class|union|extern)\b", re.S)


def blank(match):
    """A comment or literal as blanks, with its line ends: positions stay."""
    text = match.group()
    if text.startswith("//") or text.startswith("/*"):
        return re.sub(r"[^\n]", " ", text)
    return '"' + re.sub(r"[^\n]", " ", text[1:-1]) + '"'


def code_of(text):
    """The text without comments, contents of literals, and preprocessor lines; positions stay."""
    text = TOKEN.sub(blank, DIGIT_MARK.sub(" ", text))
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.M)


def functions_of(code):
    """(name, first line, last line) of each function with a body that is in namespaces and classes alone; lines from 0."""
    found = []
    scopes = []  # of each open brace: "record", "function" (start, name) or "other"
    start = 0  # of the statement that is being read
    for at, char in enumerate(code):
        if char in ";":
            if not any(kind != "record" for kind, *_ in scopes):
                start = at + 1
        elif char == "{":
            head = code[start:at]
            outside = all(kind == "record" for kind, *_ in scopes)
            if outside and re.search(r"\)\s*(?:noexcept\s*)?:\s[^;]*[\w>]$", head):
                scopes.append(("member",))  # x{1} in a constructor's list: the body follows
            elif outside and RECORD.match(re.sub(r"^\s*(public|private|protected)\s*:", "", head)) and "(" not in head.split(":")[0].replace("extern", ""):
                scopes.append(("record",))
                start = at + 1
            elif outside and "(" in head and not NO_FUNCTION.match(head) and not re.search(r"[(,]\s*$|=\s*[\w:<>, ]*$", head):
                name = re.findall(r"([A-Za-z_~][\w:~]*|operator\s*\S+?)\s*\(", head)
                scopes.append(("function", start, name[0] if name else "?"))
            else:
                scopes.append(("other",))
        elif char == "}":
            if not scopes:
                continue
            kind, *rest = scopes.pop()
            outside = all(k == "record" for k, *_ in scopes)
            if kind == "function":
                head = code[rest[0]:]
                head = re.sub(r"^(\s*(?:public|private|protected)\s*:)", lambda m: " " * len(m.group()), head)
                skipped = len(head) - len(head.lstrip())
                begin = rest[0] + skipped
                first = code.count("\n", 0, begin)
                found.append((rest[1], first, code.count("\n", 0, at)))
            if outside and kind != "member":
                start = at + 1
    return found


def comment_above(lines, first):
    """The comment that ends on the line above `first`, or None."""
    return lines[first - 1].strip() if first > 0 and re.match(r"\s*(//|\*/)", lines[first - 1]) else None


def declared(lines, name):
    """The comment above a declaration of that name, or above the group of declarations that it stands in."""
    for at, line in enumerate(lines):
        if not re.search(r"(?<![\w.>])" + re.escape(name) + r"\s*\(", line) or re.match(r"\s*//", line):
            continue
        while at > 0 and lines[at - 1].strip() and not re.match(r"\s*//", lines[at - 1]):
            at -= 1
            if re.search(r"\{\s*$", lines[at]):
                break
        comment = comment_above(lines, at)
        if comment:
            return comment
    return None


def headers_of(path, text):
    """The project's headers that the file includes."""
    for name in re.findall(r'^\s*#\s*include "([^"]+\.h)"', text, re.M):
        header = ROOT / name
        if header != path and header.exists():
            yield header


def faults_of(path, text, list_all=False):
    name = path.relative_to(ROOT)
    lines = text.split("\n")
    count = text.count("\n")
    if count > LONG_FILE and not REASON.search("\n".join(lines[:10])):
        yield f"{name}: {count} lines, at most {LONG_FILE} expected, or the reason on top: Long because ..."
    for match in TOKEN.finditer(DIGIT_MARK.sub(" ", text)):
        if match.group().startswith(('"', "R")) and re.search(r"\bwanted\b", match.group()):
            line = text.count("\n", 0, match.start()) + 1
            yield f'{name}:{line}: a string literal with "wanted", expected "expected": {match.group()[:60]!r}'
    for function, first, last in functions_of(code_of(text)):
        if last - first + 1 < LONG_FUNCTION:
            continue
        comment = comment_above(lines, first)
        short = function.split("::")[-1]
        if comment is None and path.suffix == ".cpp":
            for header in headers_of(path, text):
                comment = comment or declared(header.read_text().split("\n"), short)
        if comment is None:
            yield f"{name}:{first + 1}: {function} has {last - first + 1} lines and no comment above it"
        elif list_all:
            print(f"{name}:{first + 1}: {function}, {last - first + 1} lines: {comment}")


SAMPLE = """#include <x>
namespace a {
struct S {
  S() : x_{1}, y_{2} {}
  // Said above: no fault.
  int said(int b) {
%(long)s  }
  int x_, y_;
};
// A comment, then an empty line.

template <typename T>
int unsaid(T b) {
%(long)s}
constexpr int kTable[] = {
%(row)s};
const char* text = "it's wanted"; // "wanted" in a comment
}  // namespace a
%(rest)s""" % {"long": "  f({1, \"}\"});\n" * LONG_FUNCTION, "row": "  1'000,\n" * LONG_FUNCTION, "rest": "int x;\n" * LONG_FILE}


def check_itself():
    """The sample breaks each rule once."""
    path = ROOT / "lib" / "sample.cpp"
    found = list(faults_of(path, SAMPLE))
    assert len(found) == 3, found
    assert "at most 500 expected" in found[0] and 'with "wanted"' in found[1], found
    assert f"unsaid has {LONG_FUNCTION + 3} lines and no comment" in found[2], found
    assert not list(faults_of(path, "// Long because: a table.\n" + "int x;\n" * (LONG_FILE + 1)))


def findings_faults():
    scripts = {path.name for path in (ROOT / "findings").glob("*.sh")}
    named = re.findall(r"\| ([\w-]+\.sh) \|$", (ROOT / "docs/interop.md").read_text(), re.M)
    for name in sorted(scripts ^ set(named)):
        yield f"findings/{name}: {'docs/interop.md does not name it' if name in scripts else 'named by docs/interop.md, absent'}"


def main():
    check_itself()
    faults = list(findings_faults())
    files = 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                files += 1
                faults += faults_of(path, path.read_text(), "--all" in sys.argv)
    print("\n".join(faults))
    print(f"{files} files of {', '.join(FOLDERS)}: {len(faults)} faults")
    return 1 if faults or files < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
