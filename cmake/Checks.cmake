# Checks of the source tree itself: cheap ones as tests, and the target `headers-alone`.

# headers-alone: every header compiles by itself, so that any file may include any header first.
file(GLOB_RECURSE headers RELATIVE ${PROJECT_SOURCE_DIR}/src CONFIGURE_DEPENDS
     ${PROJECT_SOURCE_DIR}/src/*.h)
if(NOT LOWBIT_TORCH)
  list(FILTER headers EXCLUDE REGEX "^(calib|methods)/")
endif()
set(header_sources)
foreach(header IN LISTS headers)
  set(source ${PROJECT_BINARY_DIR}/headers-alone/${header}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n")
  list(APPEND header_sources ${source})
endforeach()
get_property(libraries GLOBAL PROPERTY LOWBIT_LIBRARIES)
add_library(headers-alone OBJECT EXCLUDE_FROM_ALL ${header_sources})
target_link_libraries(headers-alone PRIVATE lowbit_options fmt::fmt ${libraries})
# kernels/vector_math.h passes vectors by value between functions that are always inlined.
target_compile_options(headers-alone PRIVATE -Wno-psabi)
if(LOWBIT_TORCH)
  lowbit_use_torch(headers-alone)
endif()

if(LOWBIT_TESTS)
  foreach(check layers sources)
    add_test(NAME house.${check} COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-${check}.sh)
    set_tests_properties(house.${check} PROPERTIES LABELS fast)
  endforeach()
endif()
