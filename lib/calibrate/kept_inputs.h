#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/runtime/executor.h"

namespace espalier {

/// Some of the inputs that statistics were collected from, so that what looks at outputs can run
/// the model on them. All feeds have the same inputs.
struct KeptInputs {
  std::vector<Feed> feeds;
  size_t of = 0;  ///< how many there were; all are here if `feeds` are as many
  std::map<std::string, std::string> states;  ///< DataSet::states
  std::string token_mask;                     ///< DataSet::token_mask

  /// Whether these are all that the statistics were made of.
  bool complete() const { return of > 0 && feeds.size() == of; }
};

/// At most `budget` bytes of the feeds of `all`: of streams the first ones, of others some of all
/// places; none where they hold texts.
KeptInputs kept_inputs(KeptInputs all, size_t budget);

/// `count` of the feeds: of a stream the first ones, of others from all places.
std::vector<Feed> some_feeds(const std::vector<Feed>& feeds, size_t count, bool stream);

/// Both, as far as `budget` goes. Feeds with other inputs, or of streams, are dropped.
KeptInputs merged(const KeptInputs& a, const KeptInputs& b, size_t budget);

}  // namespace espalier
