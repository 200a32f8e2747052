# Finds LibTorch and defines lowbit_torch: its headers and libraries, nothing of its own flags.
#
# LibTorch's own CMake package is not used: a build with CUDA in it enables the CUDA language and wants the
# whole toolkit, and it spreads compile options. Debian's libtorch-dev (1.13) is found without help; another
# one (an unpacked LibTorch, or the `torch` folder of a Python package) through CMAKE_PREFIX_PATH. Only the
# new C++ ABI of libstdc++ works, as everywhere.
find_path(LOWBIT_TORCH_INCLUDE torch/csrc/api/include/torch/torch.h)
find_library(LOWBIT_TORCH_CPU torch_cpu)
find_library(LOWBIT_TORCH_C10 c10)
if(NOT LOWBIT_TORCH_INCLUDE OR NOT LOWBIT_TORCH_CPU OR NOT LOWBIT_TORCH_C10)
  message(FATAL_ERROR "LibTorch was not found: install libtorch-dev, give its folder as "
                      "-DCMAKE_PREFIX_PATH=..., or build without it by -DLOWBIT_TORCH=OFF")
endif()

# CUDA parts, looked for only where the CPU part lies, so that two installations never mix.
cmake_path(GET LOWBIT_TORCH_CPU PARENT_PATH torch_folder)
foreach(part torch_cuda c10_cuda)
  string(TOUPPER ${part} variable)
  find_library(LOWBIT_PART_${variable} ${part} PATHS ${torch_folder} NO_DEFAULT_PATH)
endforeach()

# The version stands in another header since 2.9.
set(version_lines)
foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(NOT version_lines AND EXISTS ${LOWBIT_TORCH_INCLUDE}/${header})
    file(STRINGS ${LOWBIT_TORCH_INCLUDE}/${header} version_lines
         REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
  endif()
endforeach()
string(REGEX REPLACE "[^0-9]+([0-9]+)[^0-9]+([0-9]+)" "\\1.\\2" LOWBIT_TORCH_VERSION
       "${version_lines}")

add_library(lowbit_torch INTERFACE)
target_include_directories(lowbit_torch SYSTEM INTERFACE
  ${LOWBIT_TORCH_INCLUDE} ${LOWBIT_TORCH_INCLUDE}/torch/csrc/api/include)
target_link_libraries(lowbit_torch INTERFACE ${LOWBIT_TORCH_CPU} ${LOWBIT_TORCH_C10})
# at::parallel_for lies in its headers, and is a plain loop where OpenMP is not compiled in.
target_compile_options(lowbit_torch INTERFACE -fopenmp)
target_link_options(lowbit_torch INTERFACE -fopenmp)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  # g++ 13 sees LibTorch 2's small vectors of sizes copied beyond their end.
  target_compile_options(lowbit_torch INTERFACE -Wno-array-bounds)
endif()
if(EXISTS ${LOWBIT_TORCH_INCLUDE}/fmt/format.h AND
   NOT LOWBIT_TORCH_INCLUDE IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
  # This LibTorch brings its own fmt, whose headers come first: use them without a library, as the
  # one that we link has another version.
  target_compile_definitions(lowbit_torch INTERFACE FMT_HEADER_ONLY)
endif()
if(LOWBIT_PART_TORCH_CUDA)
  # Nothing of ours names a symbol of it, but loading it is what makes "cuda" a device.
  target_link_libraries(lowbit_torch INTERFACE
    "-Wl,--no-as-needed,${LOWBIT_PART_TORCH_CUDA},--as-needed" ${LOWBIT_PART_C10_CUDA})
  # Its own CUDA libraries are found when it is loaded, beside it.
  target_link_options(lowbit_torch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  message(STATUS "LibTorch ${LOWBIT_TORCH_VERSION} with CUDA: ${torch_folder}")
else()
  message(STATUS "LibTorch ${LOWBIT_TORCH_VERSION}, CPU: ${torch_folder}")
endif()

# LibTorch's headers take 15 s to read, once here instead of once a file.
set(pch_source ${CMAKE_BINARY_DIR}/torch_headers.cc)
file(CONFIGURE OUTPUT ${pch_source} CONTENT "")
add_library(lowbit_torch_headers OBJECT EXCLUDE_FROM_ALL ${pch_source})
target_link_libraries(lowbit_torch_headers PRIVATE lowbit_options lowbit_torch)
target_precompile_headers(lowbit_torch_headers PRIVATE
  <ATen/ATen.h> <ATen/Parallel.h> <torch/csrc/autograd/custom_function.h> <torch/cuda.h>)

# lowbit_use_torch(TARGET): a target that includes LibTorch's headers. PRIVATE: what links it gets the libraries, not
# the headers.
function(lowbit_use_torch target)
  target_link_libraries(${target} PRIVATE lowbit_torch)
  target_precompile_headers(${target} REUSE_FROM lowbit_torch_headers)
endfunction()
