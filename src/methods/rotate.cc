#include "methods/rotate.h"

#include "calib/turn.h"

namespace lowbit {

BlockPass rotate_pass() {
  return [](BlockTask& task) -> Status {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      const InputTransform& transform = task.linears[i].scheme.transform;
      if (transform.any())
        task.student.set_weight(i, turned_weight(task.student.weight(i), transform));
    }
    return {};
  };
}

}  // namespace lowbit
