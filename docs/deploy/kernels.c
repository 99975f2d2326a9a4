/* kernels: a packed weight without a file, as an engine would hold it; C11, library espalier_kernels. */
#include <espalier_kernels.h>
#include <stdio.h>
#include <stdlib.h>

static void check(espalier_status status) {
  if (status == ESPALIER_OK) return;
  fprintf(stderr, "error: %s\n", espalier_last_error());
  exit(1);
}

int main(void) {
  /* [32, 8] in blocks of 16x1: three of 2 x 8 are kept, at (block row, column) (0, 2), (0, 5), (1, 0). */
  static float values[3][16][1];
  for (int block = 0; block < 3; ++block)
    for (int row = 0; row < 16; ++row) values[block][row][0] = (float)(block + 1);
  static const uint16_t index[3][2] = {{0, 2}, {0, 5}, {1, 0}};

  espalier_matrix_desc desc = {.size = sizeof desc, .parts = 1, .rows = 32, .cols = 8};
  desc.block_rows = 16, desc.block_cols = 1, desc.blocks = 3;
  desc.type = ESPALIER_F32, desc.values = values;
  desc.index_type = ESPALIER_U16, desc.index = index;
  espalier_matrix* matrix = NULL;
  check(espalier_matrix_create(&desc, &matrix)); /* a wrong index is an error here */
  espalier_product* product = NULL;
  check(espalier_product_create(matrix, 0, &product));
  espalier_matrix_destroy(matrix);

  const float x[8] = {1, 0, 10, 0, 0, 100, 0, 0};
  float bias[32] = {0}, y[32];
  const espalier_activation relu = {.kind = ESPALIER_RELU};
  check(espalier_product_run(product, x, ESPALIER_SAMPLES_OUTER, 1, bias, &relu, y, NULL));
  printf("%s: y[0] = %g, y[31] = %g\n", espalier_product_kernel(product), (double)y[0], (double)y[31]);
  espalier_product_destroy(product);
  return y[0] == 210 && y[31] == 3 ? 0 : 1;
}
