hako_fuzz(image_manifest DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/image_manifest.cpp)
