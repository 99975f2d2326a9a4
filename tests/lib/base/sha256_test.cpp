#include "lib/base/sha256.h"

#include <doctest/doctest.h>

#include <string>

#include "lib/base/output_file.h"

namespace espalier {

TEST_CASE("sha256 gives the digests of FIPS 180-4's examples") {
  CHECK(sha256(as_bytes("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(as_bytes(std::string(1'000'000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256 does not depend on how the bytes are cut") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  const std::string whole = sha256(as_bytes(text));
  for (size_t cut = 1; cut < 140; ++cut) {  // around one and two blocks of 64
    Sha256 sum;
    for (size_t at = 0; at < text.size(); at += cut)
      sum.add(as_bytes(text).subspan(at, std::min(cut, text.size() - at)));
    CHECK(sum.hex() == whole);
  }
}

}  // namespace espalier
