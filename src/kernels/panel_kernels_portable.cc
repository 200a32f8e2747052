// The loops on arrays: for processors without the vector instructions.
#include "kernels/panel_kernels.h"
#include "kernels/vector_portable.h"

namespace lowbit {

PanelKernels panel_kernels_portable() { return Panels<Portable>::kernels(); }

}  // namespace lowbit
