#include "kernels/panel_kernels.h"

#if defined(__AVX512VNNI__)
#include "kernels/vector_avx512.h"

namespace lowbit {
PanelKernels panel_kernels_avx512() { return Panels<Avx512>::kernels(); }
}  // namespace lowbit
#else
namespace lowbit {
PanelKernels panel_kernels_avx512() { return panel_kernels_portable(); }  // never chosen: isa.h
}  // namespace lowbit
#endif
