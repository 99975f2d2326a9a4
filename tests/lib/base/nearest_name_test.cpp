#include "lib/base/nearest_name.h"

#include <doctest/doctest.h>

#include <array>
#include <string>

using namespace espalier;

TEST_CASE("a misspelt name finds the one that was meant") {
  const std::array<std::string, 5> names{"--sparsity", "--scope", "--seed", "--block", "-q"};
  CHECK(nearest_name("--sparsty", names) == "--sparsity");    // a letter is missing
  CHECK(nearest_name("--sparsitty", names) == "--sparsity");  // one too many
  CHECK(nearest_name("--blcok", names) == "--block");         // two swapped
  CHECK(nearest_name("--sede", names) == "--seed");
  CHECK(nearest_name("--seed", names) == "--seed");
}

TEST_CASE("a name that resembles nothing finds nothing") {
  const std::array<std::string, 3> names{"--sparsity", "prune", "x"};
  CHECK_FALSE(nearest_name("--frobnicate", names));
  CHECK_FALSE(nearest_name("y", names));  // every letter replaced
  CHECK_FALSE(nearest_name("", names));
  CHECK_FALSE(nearest_name(std::string(1000, 'p'), names));
  CHECK(did_you_mean("prnue", names) == "; did you mean prune?");
  CHECK(did_you_mean("zzzzz", names).empty());
}
