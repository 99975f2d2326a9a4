/* models_c11 MODEL: a program in C11 that runs a recurrent model of one input and one output, [N, T, bands] each,
 * as a sequence and step by step: equal results, no allocation per step, an error for a broken file. */
#include <espalier.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t allocations;

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
/* glibc lets a program define these; what the libraries allocate comes through here. */
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t bytes) {
  ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  ++allocations;
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** result, size_t alignment, size_t bytes) {
  *result = aligned_alloc(alignment, bytes);
  return *result == NULL;
}
#endif

#define CHECK(call)                                                             \
  do {                                                                          \
    if ((call) != ESPALIER_OK) {                                                \
      fprintf(stderr, "line %d: error: %s\n", __LINE__, espalier_last_error()); \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)
#define REQUIRE(condition)                                            \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

enum { STEPS = 12, BANDS = 32 };

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  espalier_model* model = NULL;
  CHECK(espalier_model_open(argv[1], &model));
  REQUIRE(espalier_model_inputs(model) == 1 && espalier_model_outputs(model) == 1);
  espalier_value_info in = {.size = sizeof in}, out = {.size = sizeof out};
  CHECK(espalier_model_input(model, 0, &in));
  CHECK(espalier_model_output(model, 0, &out));
  REQUIRE(in.type == ESPALIER_F32 && in.rank == 3 && in.extents[0] == -1 && in.extents[2] == BANDS);

  static float x[STEPS][BANDS], sequence[STEPS][BANDS], stepped[STEPS][BANDS];
  for (int t = 0; t < STEPS; ++t)
    for (int i = 0; i < BANDS; ++i) x[t][i] = sinf(0.3F * (float)(t * i)) + 0.1F * (float)t;

  /* All at once, bound to the arrays themselves. */
  espalier_session* session = NULL;
  CHECK(espalier_session_create(model, NULL, &session));
  const int64_t all[3] = {1, STEPS, BANDS}, one[3] = {1, 1, BANDS};
  CHECK(espalier_session_bind_input(session, in.name, 3, all, x, sizeof x));
  CHECK(espalier_session_bind_output(session, out.name, sequence, sizeof sequence));
  CHECK(espalier_session_run(session));
  espalier_session_destroy(session);

  /* Step by step. */
  espalier_session_desc desc = {.size = sizeof desc, .threads = 1};
  desc.flags = ESPALIER_KEEP_STATE | ESPALIER_PROFILE;
  CHECK(espalier_session_create(model, &desc, &session));
  void* frame = NULL;
  CHECK(espalier_session_input(session, in.name, 3, one, &frame));
  size_t before = 0;
  for (int pass = 0; pass < 2; ++pass) {
    CHECK(espalier_session_reset(session));
    for (int t = 0; t < STEPS; ++t) {
      if (pass == 1 && t == 0) before = allocations;
      memcpy(frame, x[t], sizeof x[t]);
      CHECK(espalier_session_run(session));
      espalier_tensor y = {.size = sizeof y};
      CHECK(espalier_session_output(session, out.name, &y));
      REQUIRE(y.bytes == sizeof stepped[t] && y.rank == 3 && y.extents[1] == 1);
      memcpy(stepped[t], y.data, sizeof stepped[t]);
    }
  }
  const size_t of_steps = allocations - before; /* printf may allocate */
  printf("%zu allocations in %d steps, %zu before\n", of_steps, STEPS, before);
  REQUIRE(of_steps == 0);
  float largest = 0;
  for (int t = 0; t < STEPS; ++t)
    for (int i = 0; i < BANDS; ++i) largest = fmaxf(largest, fabsf(stepped[t][i] - sequence[t][i]));
  printf("step by step and at once differ by %g\n", (double)largest);
  REQUIRE(largest < 1e-5F);

  espalier_layer layers[64];
  size_t count = 0;
  CHECK(espalier_session_profile(session, layers, 64, &count));
  REQUIRE(count > 2 && count < 64);
  for (size_t i = 0; i < count; ++i)
    printf("%-12s %8.1f us\n", layers[i].op, 1e6 * layers[i].seconds);
  espalier_session_destroy(session);
  espalier_model_destroy(model);

  /* Errors. */
  REQUIRE(espalier_model_open("no such file", &model) == ESPALIER_ERROR_FORMAT && model == NULL);
  REQUIRE(strstr(espalier_last_error(), "no such file") != NULL);
  REQUIRE(espalier_model_open_memory("broken", 6, &model) == ESPALIER_ERROR_FORMAT);
  printf("error: %s\nok\n", espalier_last_error());
  return 0;
}
