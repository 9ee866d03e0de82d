hako_fuzz(recipe DEPENDS api SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/recipe.cpp)
