// Runs every fuzzer on its seeds and on what it once found (tests/fuzz/seeds/NAME), as a test.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#define ESPALIER_FUZZER(name) extern "C" int name(const uint8_t* data, size_t size);
#include "fuzzers.def"

namespace {

namespace fs = std::filesystem;

// The input, each of its beginnings by halves, and nothing: a crash ends the program.
size_t replay(int (*fuzzer)(const uint8_t*, size_t), const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t runs = 0;
  for (size_t size = bytes.size();; size /= 2) {
    std::printf("%s %zu\n", file.c_str(), size);
    std::fflush(stdout);
    const std::vector<uint8_t> exact(data, data + size);  // what follows it is not readable
    fuzzer(exact.data(), exact.size());
    ++runs;
    if (size == 0) return runs;
  }
}

size_t replay_all(const char* name, int (*fuzzer)(const uint8_t*, size_t), const fs::path& seeds) {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(seeds / name)) {
    replay(fuzzer, entry.path());
    ++files;
  }
  if (files == 0) std::printf("%s: no seeds in %s\n", name, seeds.c_str());
  return files;
}

}  // namespace

int main() {
  bool complete = true;
#define ESPALIER_FUZZER(name) complete &= replay_all(#name, name, ESPALIER_SEEDS) != 0;
#include "fuzzers.def"
  return complete ? 0 : 1;
}
