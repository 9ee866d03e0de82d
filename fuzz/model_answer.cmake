hako_fuzz(model_answer DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model_answer.cpp)
