/* A program in C11 that uses the kernels alone: a product and the steps of a GRU, without an
 * allocation per step. */
#include <espalier_kernels.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t allocations;

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
/* glibc lets a program define these; what the libraries allocate comes through here. */
void* __libc_malloc(size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t bytes) {
  ++allocations;
  return __libc_malloc(bytes);
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

enum { HIDDEN = 64, GATES = 3 };

int main(void) {
  static float weight[GATES * HIDDEN * HIDDEN], x[GATES * HIDDEN], h[HIDDEN], y[GATES * HIDDEN];
  for (size_t i = 0; i < sizeof weight / sizeof *weight; ++i)
    weight[i] = i % 7 == 0 ? 0.01F * (float)(i % 13) : 0;
  for (size_t i = 0; i < GATES * HIDDEN; ++i) x[i] = 0.1F * (float)(i % 5);

  espalier_matrix* matrix = NULL;
  CHECK(espalier_matrix_pack(weight, GATES, HIDDEN, HIDDEN, 16, 1, &matrix));
  espalier_product* product = NULL;
  CHECK(espalier_product_create(matrix, 0, &product));
  REQUIRE(strcmp(espalier_product_kernel(product), "16x1") == 0);
  espalier_recurrent_desc desc = {.size = sizeof desc, .cell = ESPALIER_GRU};
  desc.linear_before_reset = 1;
  desc.recurrent_weight = matrix;
  espalier_recurrent* gru = NULL;
  CHECK(espalier_recurrent_create(&desc, &gru));
  espalier_matrix_destroy(matrix);

  const espalier_activation relu = {.kind = ESPALIER_RELU};
  size_t before = 0;
  for (int step = 0; step < 20; ++step) {
    if (step == 2) before = allocations;
    CHECK(espalier_product_run(product, x, ESPALIER_SAMPLES_OUTER, 1, NULL, &relu, y, NULL));
    CHECK(espalier_recurrent_step(gru, y, 1, h, NULL, NULL));
  }
  const size_t of_steps = allocations - before; /* printf may allocate */
  printf("%zu allocations in 18 steps, %zu before\n", of_steps, before);
  REQUIRE(of_steps == 0);
  REQUIRE(isfinite(h[0]) && h[0] != 0);

  /* A broken index is an error with a text. */
  const uint16_t index[2] = {0, 9};
  espalier_matrix_desc broken = {.size = sizeof broken, .parts = 1, .rows = 4, .cols = 4};
  broken.block_rows = broken.block_cols = 2;
  broken.blocks = 1;
  broken.type = ESPALIER_F32;
  broken.index_type = ESPALIER_U16;
  broken.values = weight;
  broken.index = index;
  REQUIRE(espalier_matrix_create(&broken, &matrix) == ESPALIER_ERROR_FORMAT);
  REQUIRE(strstr(espalier_last_error(), "block column 9") != NULL);
  espalier_product_destroy(product);
  espalier_recurrent_destroy(gru);
  puts("ok");
  return 0;
}
