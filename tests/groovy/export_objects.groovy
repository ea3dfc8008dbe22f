/*
 * Writes every image's annotations into FOLDER/IMAGE.geojson for the tests: args = folder.
 */
exportObjectsToGeoJson(getAnnotationObjects(), new File(args[0], "${getCurrentImageName()}.geojson").getPath(), 'FEATURE_COLLECTION')
