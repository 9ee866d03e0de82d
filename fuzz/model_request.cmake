hako_fuzz(model_request DEPENDS wire SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/model_request.cpp)
